-- The log and what must commit with it. Every key begins with the log or the tenant, so that one transaction touches
-- one log and the tables can be distributed by it. There is no sequence and no trigger: positions are handed out by
-- the one appender that holds the log's advisory lock, so they are gapless and in commit order.

-- omnistream_engine runs the log, the projections and the queues across tenants;
-- omnistream_app answers requests and sees one tenant per transaction.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'omnistream_engine') THEN
        CREATE ROLE omnistream_engine NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'omnistream_app') THEN
        CREATE ROLE omnistream_app NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL; -- another database of this cluster made them in the same moment
END $$;
GRANT omnistream_engine, omnistream_app TO CURRENT_USER;

CREATE SCHEMA read;
CREATE SCHEMA rebuild;
CREATE SCHEMA previous;
GRANT USAGE ON SCHEMA public, read TO omnistream_app;
GRANT USAGE, CREATE ON SCHEMA public, read, rebuild, previous TO omnistream_engine;

-- The tenant of the running transaction; NULL outside of one, so that nothing is visible by accident.
CREATE FUNCTION current_tenant() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN NULLIF(current_setting('omnistream.tenant', true), '')::uuid;

-- The second wall: whatever a query forgets, the app role sees only its tenant's rows.
CREATE PROCEDURE protect_tenant(target regclass) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', target);
    EXECUTE format('CREATE POLICY one_tenant ON %s TO omnistream_app USING (tenant_id = current_tenant())', target);
    EXECUTE format('CREATE POLICY all_tenants ON %s TO omnistream_engine USING (true) WITH CHECK (true)', target);
END $$;

CREATE TABLE logs (log_id smallint PRIMARY KEY);

CREATE TABLE tenant_logs (
    tenant_id uuid PRIMARY KEY,
    log_id smallint NOT NULL REFERENCES logs
);

CREATE TABLE events (
    log_id smallint NOT NULL,
    position bigint NOT NULL,
    tenant_id uuid NOT NULL,
    stream_type text NOT NULL,
    stream_id uuid NOT NULL,
    version bigint NOT NULL CHECK (version > 0),
    event_type text NOT NULL,
    schema_version smallint NOT NULL,
    event_id uuid NOT NULL,
    command_id uuid NOT NULL,
    metadata jsonb NOT NULL,
    recorded_at timestamptz NOT NULL,
    payload jsonb NOT NULL,
    payload_hash bytea NOT NULL,
    chain_hash bytea NOT NULL,
    PRIMARY KEY (log_id, position),
    CONSTRAINT events_stream_version UNIQUE (log_id, stream_id, version)
);
CREATE INDEX events_tenant ON events (log_id, tenant_id, position);
CREATE INDEX events_event_id ON events (log_id, event_id);
CREATE INDEX events_command ON events (log_id, command_id);
CALL protect_tenant('events');
GRANT SELECT, INSERT ON events TO omnistream_engine;
GRANT SELECT ON events TO omnistream_app;

-- Uniqueness that a command claims together with its events: an email, a slug, a channel's message id.
CREATE TABLE claims (
    log_id smallint NOT NULL,
    tenant_id uuid NOT NULL,
    scope text NOT NULL,
    key text NOT NULL,
    owner uuid NOT NULL,
    PRIMARY KEY (log_id, tenant_id, scope, key)
);
CALL protect_tenant('claims');
GRANT SELECT, INSERT, DELETE ON claims TO omnistream_engine;

-- Keys that seal personal data (subject = contact) and credentials (subject = tenant), wrapped by the configured
-- secret key. An erased subject keeps its row without a key, so that it can never be given a new one.
CREATE TABLE subject_keys (
    tenant_id uuid NOT NULL,
    subject_id uuid NOT NULL,
    wrapped_key bytea,
    created_at timestamptz NOT NULL,
    erased_at timestamptz,
    PRIMARY KEY (tenant_id, subject_id)
);
CALL protect_tenant('subject_keys');
GRANT SELECT, INSERT, UPDATE ON subject_keys TO omnistream_engine;

-- Folded states of long streams: a cache that may be emptied at any time.
CREATE TABLE snapshots (
    tenant_id uuid NOT NULL,
    stream_id uuid NOT NULL,
    version bigint NOT NULL,
    shape text NOT NULL,
    state jsonb NOT NULL,
    PRIMARY KEY (tenant_id, stream_id)
);
CALL protect_tenant('snapshots');
GRANT SELECT, INSERT, UPDATE, DELETE ON snapshots TO omnistream_engine;

GRANT SELECT ON logs TO omnistream_engine, omnistream_app;
GRANT SELECT, INSERT ON tenant_logs TO omnistream_engine;
GRANT SELECT ON tenant_logs TO omnistream_app;

-- Takes the log's lock, then reads what a batch must know. One round trip; each statement inside sees what
-- committed before the lock was granted.
CREATE FUNCTION append_facts(
    p_log smallint, p_commands uuid[], p_streams uuid[], p_claim_tenants uuid[], p_claim_scopes text[], p_claim_keys text[]
) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    head record;
BEGIN
    PERFORM pg_advisory_xact_lock(7301, p_log);
    SELECT position, recorded_at INTO head FROM events WHERE log_id = p_log ORDER BY position DESC LIMIT 1;
    RETURN jsonb_build_object(
        'position', coalesce(head.position, 0),
        'recorded_at', head.recorded_at,
        'commands', (
            SELECT coalesce(jsonb_agg(c), '[]') FROM (
                SELECT e.command_id, min(e.position) AS first_position, max(e.position) AS last_position
                FROM unnest(p_commands) AS wanted (id)
                JOIN events e ON e.log_id = p_log AND e.command_id = wanted.id
                GROUP BY e.command_id) c),
        'streams', (
            SELECT coalesce(jsonb_agg(s), '[]') FROM (
                SELECT last.stream_id, last.version, encode(last.chain_hash, 'hex') AS chain_hash
                FROM unnest(p_streams) AS wanted (id)
                CROSS JOIN LATERAL (
                    SELECT e.stream_id, e.version, e.chain_hash FROM events e
                    WHERE e.log_id = p_log AND e.stream_id = wanted.id
                    ORDER BY e.version DESC LIMIT 1) last) s),
        'claims', (
            SELECT coalesce(jsonb_agg(c), '[]') FROM (
                SELECT c.tenant_id, c.scope, c.key, c.owner
                FROM unnest(p_claim_tenants, p_claim_scopes, p_claim_keys) AS wanted (tenant_id, scope, key)
                JOIN claims c ON c.log_id = p_log AND c.tenant_id = wanted.tenant_id
                    AND c.scope = wanted.scope AND c.key = wanted.key) c));
END $$;
