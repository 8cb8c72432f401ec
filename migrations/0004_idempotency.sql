-- Answers to requests with an Idempotency-Key. The nil tenant stands for requests without one.
CREATE TABLE idempotency_keys (
    tenant_id uuid NOT NULL,
    caller_id uuid NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    started_at timestamptz NOT NULL,
    -- An attempt that has not answered by then has died; the next one takes over under the same ids.
    lease_until timestamptz NOT NULL,
    status smallint,
    -- Sealed: an answer may hold a token or a key that is shown once.
    answer text,
    PRIMARY KEY (tenant_id, caller_id, key)
);
CREATE INDEX idempotency_started ON idempotency_keys (started_at);
CALL protect_tenant('idempotency_keys');
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO omnistream_engine;
