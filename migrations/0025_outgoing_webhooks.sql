-- Outgoing webhooks: what is delivered to whom, what came of it, and how each webhook fares.

CREATE TABLE read.webhook_deliveries (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    log_id smallint NOT NULL,
    webhook_id uuid NOT NULL,
    -- The person whom it tells about.
    contact_id uuid,
    event_type text NOT NULL,
    -- NULL once the contact is erased, as the answer is.
    payload jsonb,
    status text NOT NULL,
    attempt bigint NOT NULL,
    max_attempts bigint NOT NULL,
    http_status bigint,
    response_body text,
    error_message text,
    -- NULL once it is settled.
    next_attempt_at timestamptz,
    completed_at timestamptz,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX webhook_deliveries_webhook ON read.webhook_deliveries (tenant_id, webhook_id, created_at, id);
CREATE INDEX webhook_deliveries_status ON read.webhook_deliveries (tenant_id, webhook_id, status, created_at, id);
CREATE INDEX webhook_deliveries_contact ON read.webhook_deliveries (tenant_id, contact_id) WHERE contact_id IS NOT NULL;
-- What a worker takes next: first whether anything is due in a log, then what each webhook has waiting.
CREATE INDEX webhook_deliveries_due ON read.webhook_deliveries (log_id, next_attempt_at) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_waiting ON read.webhook_deliveries (tenant_id, webhook_id, next_attempt_at, id)
    WHERE status = 'pending';
CALL make_read_model('read.webhook_deliveries');

CREATE TABLE read.webhook_health (
    tenant_id uuid NOT NULL,
    webhook_id uuid NOT NULL,
    -- Attempts that failed since the last that did not.
    consecutive_failures bigint NOT NULL,
    -- When the first of them failed.
    failing_since timestamptz,
    last_triggered_at timestamptz,
    last_success_at timestamptz,
    PRIMARY KEY (tenant_id, webhook_id)
);
CALL make_read_model('read.webhook_health');

-- Who wants to hear of what, as the process manager knows it at its place in the log.
CREATE TABLE webhook_subscriptions (
    log_id smallint NOT NULL,
    webhook_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    topics text[] NOT NULL,
    is_active boolean NOT NULL,
    PRIMARY KEY (log_id, webhook_id)
);
CREATE INDEX webhook_subscriptions_tenant ON webhook_subscriptions (log_id, tenant_id) WHERE is_active;
CALL protect_tenant('webhook_subscriptions');
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_subscriptions TO omnistream_engine;

-- Events that wait to be made deliveries, one row for each webhook, written by the process manager with its checkpoint.
CREATE TABLE webhook_triggers (
    log_id smallint NOT NULL,
    position bigint NOT NULL,
    webhook_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    -- The worker's own: how often it did not succeed, and when it is tried again.
    attempts integer NOT NULL DEFAULT 0,
    available_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (log_id, position, webhook_id)
);
CREATE INDEX webhook_triggers_due ON webhook_triggers (log_id, available_at);
CALL protect_tenant('webhook_triggers');
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_triggers TO omnistream_engine;

-- Which process works on which delivery. Times are the database's: a claim is about processes, not about business.
CREATE TABLE webhook_claims (
    log_id smallint NOT NULL,
    delivery_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    webhook_id uuid NOT NULL,
    owner uuid NOT NULL,
    lease_until timestamptz NOT NULL,
    PRIMARY KEY (log_id, delivery_id)
);
CREATE INDEX webhook_claims_webhook ON webhook_claims (log_id, webhook_id);
CALL protect_tenant('webhook_claims');
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_claims TO omnistream_engine;
