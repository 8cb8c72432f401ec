-- What has to be done outside because of an event: written by the process manager in its checkpoint's transaction,
-- carried out by the worker. The row names the event; what the event says stays sealed in the log.

CREATE TABLE effects (
    log_id smallint NOT NULL,
    position bigint NOT NULL,
    -- Numbers the effects of one event.
    n smallint NOT NULL,
    tenant_id uuid NOT NULL,
    kind text NOT NULL,
    -- Effects of one key happen one after the other.
    order_key text NOT NULL,
    conversation_id uuid NOT NULL,
    message_id uuid,
    account_id uuid,
    -- From here on the worker's own, which the process manager never writes.
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'sending', 'done', 'failed')),
    attempts integer NOT NULL DEFAULT 0,
    -- By the database's clock, as the lease is.
    available_at timestamptz NOT NULL DEFAULT now(),
    lease_owner uuid,
    lease_until timestamptz,
    reason text,
    finished_at timestamptz,
    PRIMARY KEY (log_id, position, n)
);
CREATE INDEX effects_open ON effects (log_id, order_key, position, n) WHERE status IN ('pending', 'sending');
CREATE INDEX effects_due ON effects (log_id, available_at, position, n) WHERE status = 'pending';
CREATE INDEX effects_sending ON effects (log_id, lease_until) WHERE status = 'sending';
CREATE INDEX effects_message ON effects (log_id, message_id) WHERE message_id IS NOT NULL;
CREATE INDEX effects_finished ON effects (log_id, finished_at) WHERE finished_at IS NOT NULL;
CALL protect_tenant('effects');
GRANT SELECT, INSERT, UPDATE, DELETE ON effects TO omnistream_engine;
