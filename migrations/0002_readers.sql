-- Readers of the log: how far each is, what it had to set aside, and the read models themselves.

-- slot: 'live' answers queries, 'rebuild' is being filled beside it, 'previous' is kept for rollback.
CREATE TABLE projections (
    name text NOT NULL,
    slot text NOT NULL CHECK (slot IN ('live', 'rebuild', 'previous')),
    log_id smallint NOT NULL,
    position bigint NOT NULL DEFAULT 0,
    generation integer NOT NULL DEFAULT 1,
    -- Whoever holds the lease writes; the epoch fences a holder that stalled and was replaced.
    lease_owner uuid,
    lease_epoch bigint NOT NULL DEFAULT 0,
    lease_until timestamptz,
    error text,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, slot, log_id)
);

-- Events that a projection could not apply, and later ones of the same stream, which wait behind them.
CREATE TABLE parked_events (
    name text NOT NULL,
    slot text NOT NULL,
    log_id smallint NOT NULL,
    position bigint NOT NULL,
    stream_id uuid NOT NULL,
    error text,
    parked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, slot, log_id, position)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON projections, parked_events TO omnistream_engine;
GRANT SELECT ON projections, parked_events TO omnistream_app;

-- Makes a table a read model: tenants apart, engine writes, app reads.
CREATE PROCEDURE make_read_model(target regclass) LANGUAGE plpgsql AS $$
BEGIN
    CALL protect_tenant(target);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO omnistream_engine', target);
    EXECUTE format('GRANT SELECT ON %s TO omnistream_app', target);
    EXECUTE format('ALTER TABLE %s OWNER TO omnistream_engine', target);
END $$;

-- Aggregates as their folded state.
CREATE TABLE read.documents (
    tenant_id uuid NOT NULL,
    collection text NOT NULL,
    id uuid NOT NULL,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- NULL once deleted: the row stays, so that the version goes on counting.
    doc jsonb,
    PRIMARY KEY (tenant_id, collection, id)
);
CREATE INDEX documents_created ON read.documents (tenant_id, collection, created_at, id);
-- Look-ups that come before the tenant is known: sign-in, API keys, a channel's own address.
CREATE INDEX documents_email ON read.documents ((doc ->> 'email')) WHERE collection IN ('agent', 'super_admin');
CREATE INDEX documents_key_hash ON read.documents ((doc ->> 'key_hash')) WHERE collection = 'api_key';
CREATE INDEX documents_account_key ON read.documents ((doc ->> 'account_key')) WHERE collection = 'integration_account';
CALL make_read_model('read.documents');
