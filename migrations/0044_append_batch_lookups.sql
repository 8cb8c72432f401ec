-- append_batch as before, but for older programs' sake beside it, with other types:
-- - Payloads come as JSON, not as text that becomes it, so that they are read before the log's lock is asked for.
-- - Each lookup is of one key at a time, whatever the planner believes. On a young database, whose statistics say that
--   its tables are empty, a join read all of the log's commands and claims for each batch.
CREATE FUNCTION append_batch(
    p_log smallint, p_recorded_at timestamptz, p_assumed jsonb,
    p_commands uuid[], p_streams uuid[], p_claims jsonb, p_released jsonb, p_claimed jsonb,
    p_tenants uuid[], p_stream_types text[], p_stream_ids uuid[], p_versions bigint[], p_event_types text[],
    p_schema_versions smallint[], p_event_ids uuid[], p_command_ids uuid[], p_metadata jsonb[], p_payloads jsonb[],
    p_payload_hashes bytea[], p_chain_hashes bytea[]
) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    head record;
    head_position bigint;
    facts jsonb;
BEGIN
    -- Each statement after this one sees what committed before the lock was granted.
    PERFORM pg_advisory_xact_lock(7301, p_log);
    SELECT position, recorded_at INTO head FROM events WHERE log_id = p_log ORDER BY position DESC LIMIT 1;
    facts := jsonb_build_object(
        'commands', (
            SELECT coalesce(jsonb_agg(c ORDER BY c.command_id), '[]') FROM (
                SELECT last.command_id, last.last_position
                FROM unnest(p_commands) AS wanted (id)
                CROSS JOIN LATERAL (
                    SELECT e.command_id, max(e.position) AS last_position FROM events e
                    WHERE e.log_id = p_log AND e.command_id = wanted.id
                    GROUP BY e.command_id) last) c),
        'streams', (
            SELECT coalesce(jsonb_agg(s ORDER BY s.stream_id), '[]') FROM (
                SELECT last.stream_id, last.version, encode(last.chain_hash, 'hex') AS chain_hash
                FROM unnest(p_streams) AS wanted (id)
                CROSS JOIN LATERAL (
                    SELECT e.stream_id, e.version, e.chain_hash FROM events e
                    WHERE e.log_id = p_log AND e.stream_id = wanted.id
                    ORDER BY e.version DESC LIMIT 1) last) s),
        'claims', CASE WHEN p_claims = '[]' THEN p_claims ELSE (
            SELECT coalesce(jsonb_agg(c ORDER BY c.tenant_id, c.scope COLLATE "C", c.key COLLATE "C"), '[]') FROM (
                SELECT held.* FROM jsonb_to_recordset(p_claims) AS wanted (tenant_id uuid, scope text, key text)
                CROSS JOIN LATERAL (
                    SELECT c.tenant_id, c.scope, c.key, c.owner FROM claims c
                    WHERE c.log_id = p_log AND c.tenant_id = wanted.tenant_id
                        AND c.scope = wanted.scope AND c.key = wanted.key LIMIT 1) held) c) END);
    IF facts <> p_assumed OR head.recorded_at > p_recorded_at THEN
        RETURN jsonb_build_object('facts', facts || jsonb_build_object('recorded_at', head.recorded_at));
    END IF;
    head_position := coalesce(head.position, 0);
    IF p_released <> '[]' THEN
        DELETE FROM claims c USING jsonb_to_recordset(p_released) AS old (tenant_id uuid, scope text, key text)
        WHERE c.log_id = p_log AND c.tenant_id = old.tenant_id AND c.scope = old.scope AND c.key = old.key;
    END IF;
    IF p_claimed <> '[]' THEN
        INSERT INTO claims SELECT p_log, new.*
        FROM jsonb_to_recordset(p_claimed) AS new (tenant_id uuid, scope text, key text, owner uuid);
    END IF;
    INSERT INTO events
        SELECT p_log, head_position + n, tenant_id, stream_type, stream_id, version, event_type, schema_version,
            event_id, command_id, metadata, p_recorded_at, payload, payload_hash, chain_hash
        FROM unnest(p_tenants, p_stream_types, p_stream_ids, p_versions, p_event_types, p_schema_versions, p_event_ids,
            p_command_ids, p_metadata, p_payloads, p_payload_hashes, p_chain_hashes) WITH ORDINALITY
            AS new (tenant_id, stream_type, stream_id, version, event_type, schema_version, event_id, command_id,
                metadata, payload, payload_hash, chain_hash, n);
    RETURN jsonb_build_object('written', head_position);
END $$;
