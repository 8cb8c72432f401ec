-- Claims are about processes: after a crash of the database nobody works on anything, so they need no log of their own,
-- and taking one waits for no disk.
ALTER TABLE automation_claims SET UNLOGGED;

-- What a worker takes next, tenant by tenant: one with a long queue must not make the others wait.
DROP INDEX read.automation_queue_due;
CREATE INDEX automation_queue_turns ON read.automation_queue (log_id, tenant_id, available_at, id)
    WHERE status IN ('pending', 'processing');
-- What a person asked for is looked at even during a pause; mostly there is none.
CREATE INDEX automation_queue_reprocessing ON read.automation_queue (log_id) WHERE reprocessing AND status = 'pending';

-- Calls of other people's servers, noted before they are made.
CREATE TABLE automation_calls (
    log_id smallint NOT NULL,
    key uuid NOT NULL,
    tenant_id uuid NOT NULL,
    -- The item's version with which the attempt began.
    attempt bigint NOT NULL,
    made_at timestamptz NOT NULL,
    PRIMARY KEY (log_id, key)
);
CREATE INDEX automation_calls_made ON automation_calls (log_id, made_at);
CALL protect_tenant('automation_calls');
GRANT SELECT, INSERT, UPDATE, DELETE ON automation_calls TO omnistream_engine;
