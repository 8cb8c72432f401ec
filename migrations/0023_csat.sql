-- Satisfaction surveys.

CREATE TABLE read.csat_surveys (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    agent_id uuid,
    status text NOT NULL,
    rating bigint,
    comment text,
    rated_at timestamptz,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX csat_surveys_conversation ON read.csat_surveys (tenant_id, conversation_id, created_at DESC);
CREATE INDEX csat_surveys_contact ON read.csat_surveys (tenant_id, contact_id);
-- The customer knows the id and nothing else.
CREATE INDEX csat_surveys_id ON read.csat_surveys (id);
CALL make_read_model('read.csat_surveys');

-- Surveys and answers per UTC day of the request and agent (the nil id for nobody).
CREATE TABLE read.csat_daily (
    tenant_id uuid NOT NULL,
    day date NOT NULL,
    agent_id uuid NOT NULL,
    sent bigint NOT NULL,
    -- Answers by rating, 1 to 5.
    ratings bigint[] NOT NULL,
    PRIMARY KEY (tenant_id, day, agent_id)
);
CALL make_read_model('read.csat_daily');

-- Customers' choices that answer a survey: written by the process manager, taken by the worker.
CREATE TABLE csat_answers (
    log_id smallint NOT NULL,
    position bigint NOT NULL,
    tenant_id uuid NOT NULL,
    survey_id uuid NOT NULL,
    rating bigint NOT NULL,
    PRIMARY KEY (log_id, position)
);
CALL protect_tenant('csat_answers');
GRANT SELECT, INSERT, UPDATE, DELETE ON csat_answers TO omnistream_engine;
