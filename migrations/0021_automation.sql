-- Automation: the queue of what may set rules off, what rules did, and the counts of both.

CREATE TABLE read.automation_queue (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    log_id smallint NOT NULL,
    event_type text NOT NULL,
    conversation_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    source_event_id uuid NOT NULL,
    -- NULL once the contact is erased.
    payload jsonb,
    payload_hash text NOT NULL,
    source text NOT NULL,
    status text NOT NULL,
    attempts bigint NOT NULL,
    -- Which evaluation this is: 0 for the first, one more for each reprocessing.
    round bigint NOT NULL,
    -- Asked for by a person, so done even during a pause.
    reprocessing boolean NOT NULL,
    available_at timestamptz NOT NULL,
    processed_at timestamptz,
    error text,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
-- What a worker takes next; without the tenant, because it works for all of a log.
CREATE INDEX automation_queue_due ON read.automation_queue (log_id, available_at)
    WHERE status IN ('pending', 'processing');
-- One index per filter and per order of the lists.
CREATE INDEX automation_queue_created ON read.automation_queue (tenant_id, created_at, id);
CREATE INDEX automation_queue_status ON read.automation_queue (tenant_id, status, created_at, id);
CREATE INDEX automation_queue_type ON read.automation_queue (tenant_id, event_type, created_at, id);
CREATE INDEX automation_queue_source ON read.automation_queue (tenant_id, source, created_at, id);
CREATE INDEX automation_queue_hash ON read.automation_queue (tenant_id, payload_hash, created_at, id);
CREATE INDEX automation_queue_conversation ON read.automation_queue (tenant_id, conversation_id, created_at, id);
CREATE INDEX automation_queue_available ON read.automation_queue (tenant_id, available_at, id);
CREATE INDEX automation_queue_processed ON read.automation_queue (tenant_id, processed_at, id);
CREATE INDEX automation_queue_attempts ON read.automation_queue (tenant_id, attempts, id);
CREATE INDEX automation_queue_contact ON read.automation_queue (tenant_id, contact_id);
CALL make_read_model('read.automation_queue');

CREATE TABLE read.automation_runs (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    event_id uuid NOT NULL,
    rule_id uuid NOT NULL,
    rule_name text NOT NULL,
    -- The rule as it was.
    conditions jsonb NOT NULL,
    actions jsonb NOT NULL,
    event_type text NOT NULL,
    source text NOT NULL,
    conversation_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    matched boolean NOT NULL,
    executed boolean NOT NULL,
    -- Reason, checks, outcomes and durations; nothing personal.
    result jsonb NOT NULL,
    -- The actions with their placeholders filled, in order; NULL once the contact is erased.
    rendered jsonb,
    attempts bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX automation_runs_created ON read.automation_runs (tenant_id, created_at, id);
CREATE INDEX automation_runs_rule ON read.automation_runs (tenant_id, rule_id, created_at, id);
CREATE INDEX automation_runs_event ON read.automation_runs (tenant_id, event_id, created_at, id);
CREATE INDEX automation_runs_rule_event ON read.automation_runs (tenant_id, rule_id, event_id);
CREATE INDEX automation_runs_matched ON read.automation_runs (tenant_id, matched, created_at, id);
CREATE INDEX automation_runs_executed ON read.automation_runs (tenant_id, executed, created_at, id);
CREATE INDEX automation_runs_contact ON read.automation_runs (tenant_id, contact_id);
CALL make_read_model('read.automation_runs');

-- Per UTC day on which the rule was judged; the nil rule holds the sum over all rules.
CREATE TABLE read.automation_rule_days (
    tenant_id uuid NOT NULL,
    rule_id uuid NOT NULL,
    day date NOT NULL,
    runs bigint NOT NULL,
    matched bigint NOT NULL,
    executed bigint NOT NULL,
    PRIMARY KEY (tenant_id, rule_id, day)
);
CREATE INDEX automation_rule_days_day ON read.automation_rule_days (tenant_id, day);
CALL make_read_model('read.automation_rule_days');

-- Per trigger and UTC day on which the items were enqueued.
CREATE TABLE read.automation_queue_days (
    tenant_id uuid NOT NULL,
    event_type text NOT NULL,
    day date NOT NULL,
    total bigint NOT NULL,
    pending bigint NOT NULL,
    processing bigint NOT NULL,
    done bigint NOT NULL,
    failed bigint NOT NULL,
    -- What workers did with them, however often.
    claims bigint NOT NULL,
    retries bigint NOT NULL,
    failures bigint NOT NULL,
    PRIMARY KEY (tenant_id, event_type, day)
);
CALL make_read_model('read.automation_queue_days');

-- Events that set rules off and wait to be made items, written by the process manager with its checkpoint.
CREATE TABLE automation_triggers (
    log_id smallint NOT NULL,
    position bigint NOT NULL,
    tenant_id uuid NOT NULL,
    -- The worker's own: how often it did not succeed, and when it is tried again.
    attempts integer NOT NULL DEFAULT 0,
    available_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (log_id, position)
);
CREATE INDEX automation_triggers_due ON automation_triggers (log_id, available_at);
CALL protect_tenant('automation_triggers');
GRANT SELECT, INSERT, UPDATE, DELETE ON automation_triggers TO omnistream_engine;

-- Which process works on which item. Times are the database's: a claim is about processes, not about business.
CREATE TABLE automation_claims (
    log_id smallint NOT NULL,
    item_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    owner uuid NOT NULL,
    lease_until timestamptz NOT NULL,
    PRIMARY KEY (log_id, item_id)
);
CALL protect_tenant('automation_claims');
GRANT SELECT, INSERT, UPDATE, DELETE ON automation_claims TO omnistream_engine;

-- Which item has the right to act for a rule on a conversation, and until when nobody else has.
CREATE TABLE automation_cooldowns (
    log_id smallint NOT NULL,
    tenant_id uuid NOT NULL,
    rule_id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    item_id uuid NOT NULL,
    cooling_until timestamptz NOT NULL,
    PRIMARY KEY (log_id, tenant_id, rule_id, conversation_id)
);
CREATE INDEX automation_cooldowns_over ON automation_cooldowns (log_id, cooling_until);
CALL protect_tenant('automation_cooldowns');
GRANT SELECT, INSERT, UPDATE, DELETE ON automation_cooldowns TO omnistream_engine;

-- The few switches that somebody ever touched, looked at each time that workers look for items.
CREATE INDEX documents_automation_control ON read.documents (tenant_id) WHERE collection = 'automation_control';
