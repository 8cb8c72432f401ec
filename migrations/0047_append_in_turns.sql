-- append_batch as before, for older programs' sake beside it, with one argument more, and with less of its work done
-- while others wait: a batch whose predecessor is still being synced is inserted meanwhile. It commits after it, or not
-- at all, so positions stay gapless and in commit order, and nobody ever reads what a crash could take back.
--
-- Locks of a log, in the order in which they are taken:
--   (7301, log)  shared by all batches; alone for who wants the log to stand still: an import, and programs from before.
--   (7303, log)  who puts a batch into the log. Ends before the transaction, so it is the session's: a session whose
--                call fails must be closed.
--   (7304, log)  who commits.
--   batch_end()  marks a batch between its insertion and its commit, so that the next one knows whom it follows.
-- They are assigned rather than performed: PERFORM is a query to the executor, and costs 14 µs where this costs 0.2.

CREATE FUNCTION batch_end(p_log smallint, p_position bigint) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (p_log::bigint << 48) | p_position;

-- Whether no command of a batch is in the log up to a position, and its streams end as they are known to: with this
-- version and hash, or without any event where those are NULL.
CREATE FUNCTION batch_is_next(
    p_log smallint, p_until bigint, p_commands uuid[], p_streams uuid[], p_known_versions bigint[], p_known_hashes bytea[]
) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN NOT EXISTS (
        SELECT FROM unnest(p_commands) AS wanted (id)
        CROSS JOIN LATERAL (
            SELECT FROM events e
            WHERE e.log_id = p_log AND e.command_id = wanted.id AND e.position <= p_until LIMIT 1) found
    ) AND NOT EXISTS (
        SELECT FROM unnest(p_streams, p_known_versions, p_known_hashes) AS known (id, version, chain_hash)
        LEFT JOIN LATERAL (
            SELECT e.version, e.chain_hash FROM events e
            WHERE e.log_id = p_log AND e.stream_id = known.id AND e.position <= p_until
            ORDER BY e.version DESC LIMIT 1) last ON true
        WHERE last.version IS DISTINCT FROM known.version OR last.chain_hash IS DISTINCT FROM known.chain_hash);
END $$;

-- What is so up to a position, about all that a batch names.
CREATE FUNCTION batch_facts(p_log smallint, p_until bigint, p_commands uuid[], p_streams uuid[], p_claims jsonb)
    RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN jsonb_build_object(
        'commands', (
            SELECT coalesce(jsonb_agg(c ORDER BY c.command_id), '[]') FROM (
                SELECT last.command_id, last.last_position
                FROM unnest(p_commands) AS wanted (id)
                CROSS JOIN LATERAL (
                    SELECT e.command_id, max(e.position) AS last_position FROM events e
                    WHERE e.log_id = p_log AND e.command_id = wanted.id AND e.position <= p_until
                    GROUP BY e.command_id) last) c),
        'streams', (
            SELECT coalesce(jsonb_agg(s ORDER BY s.stream_id), '[]') FROM (
                SELECT last.stream_id, last.version, encode(last.chain_hash, 'hex') AS chain_hash
                FROM unnest(p_streams) AS wanted (id)
                CROSS JOIN LATERAL (
                    SELECT e.stream_id, e.version, e.chain_hash FROM events e
                    WHERE e.log_id = p_log AND e.stream_id = wanted.id AND e.position <= p_until
                    ORDER BY e.version DESC LIMIT 1) last) s),
        'claims', CASE WHEN p_claims = '[]' THEN p_claims ELSE (
            SELECT coalesce(jsonb_agg(c ORDER BY c.tenant_id, c.scope COLLATE "C", c.key COLLATE "C"), '[]') FROM (
                SELECT held.* FROM jsonb_to_recordset(p_claims) AS wanted (tenant_id uuid, scope text, key text)
                CROSS JOIN LATERAL (
                    SELECT c.tenant_id, c.scope, c.key, c.owner FROM claims c
                    WHERE c.log_id = p_log AND c.tenant_id = wanted.tenant_id
                        AND c.scope = wanted.scope AND c.key = wanted.key LIMIT 1) held) c) END);
END $$;

-- Puts rows after a position, and marks the end of the batch until the transaction is over.
CREATE FUNCTION put_batch(
    p_log smallint, p_after bigint, p_recorded_at timestamptz,
    p_tenants uuid[], p_stream_types text[], p_stream_ids uuid[], p_versions bigint[], p_event_types text[],
    p_schema_versions smallint[], p_event_ids uuid[], p_command_ids uuid[], p_metadata jsonb[], p_payloads jsonb[],
    p_payload_hashes bytea[], p_chain_hashes bytea[]
) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    done boolean;
BEGIN
    INSERT INTO events
        SELECT p_log, p_after + n, tenant_id, stream_type, stream_id, version, event_type, schema_version,
            event_id, command_id, metadata, p_recorded_at, payload, payload_hash, chain_hash
        FROM unnest(p_tenants, p_stream_types, p_stream_ids, p_versions, p_event_types, p_schema_versions, p_event_ids,
            p_command_ids, p_metadata, p_payloads, p_payload_hashes, p_chain_hashes) WITH ORDINALITY
            AS new (tenant_id, stream_type, stream_id, version, event_type, schema_version, event_id, command_id,
                metadata, payload, payload_hash, chain_hash, n);
    done := pg_advisory_xact_lock(batch_end(p_log, p_after + cardinality(p_tenants))) IS NOT NULL;
END $$;

-- p_follows: the position after which the batch is planned, if the one before it may still be on its way.
CREATE FUNCTION append_batch(
    p_log smallint, p_follows bigint, p_recorded_at timestamptz, p_assumed jsonb,
    p_commands uuid[], p_streams uuid[], p_known_versions bigint[], p_known_hashes bytea[],
    p_claims jsonb, p_released jsonb, p_claimed jsonb,
    p_tenants uuid[], p_stream_types text[], p_stream_ids uuid[], p_versions bigint[], p_event_types text[],
    p_schema_versions smallint[], p_event_ids uuid[], p_command_ids uuid[], p_metadata jsonb[], p_payloads jsonb[],
    p_payload_hashes bytea[], p_chain_hashes bytea[]
) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    done boolean;
    follows boolean;
    head record;
    head_position bigint;
    is_next boolean := false;
    facts jsonb;
BEGIN
    -- Each statement after a lock sees what committed before it was granted.
    done := pg_advisory_xact_lock_shared(7301, p_log) IS NOT NULL;
    done := pg_advisory_lock(7303, p_log) IS NOT NULL;
    follows := coalesce(NOT pg_try_advisory_xact_lock_shared(batch_end(p_log, p_follows)), false);
    IF follows THEN
        done := put_batch(p_log, p_follows, p_recorded_at, p_tenants, p_stream_types, p_stream_ids, p_versions,
            p_event_types, p_schema_versions, p_event_ids, p_command_ids, p_metadata, p_payloads, p_payload_hashes,
            p_chain_hashes) IS NOT NULL;
    END IF;
    done := pg_advisory_xact_lock(7304, p_log) IS NOT NULL;
    IF follows THEN
        done := pg_advisory_unlock(7303, p_log);
        SELECT position, recorded_at INTO head FROM events WHERE log_id = p_log AND position = p_follows;
    ELSE
        SELECT position, recorded_at INTO head FROM events WHERE log_id = p_log ORDER BY position DESC LIMIT 1;
    END IF;
    head_position := coalesce(head.position, 0);
    IF (head.recorded_at <= p_recorded_at) IS NOT FALSE AND (head.position IS NOT NULL OR NOT follows) THEN
        IF p_claims = '[]' AND p_assumed -> 'commands' = '[]' THEN
            is_next := batch_is_next(p_log, head_position, p_commands, p_streams, p_known_versions, p_known_hashes);
        ELSE
            is_next := p_assumed = batch_facts(p_log, head_position, p_commands, p_streams, p_claims);
        END IF;
    END IF;
    IF NOT is_next THEN
        IF follows THEN
            RAISE EXCEPTION 'the batch before was not written, or is not what this one was planned on'
                USING ERRCODE = 'OM001';
        END IF;
        done := pg_advisory_unlock(7303, p_log);
        facts := batch_facts(p_log, head_position, p_commands, p_streams, p_claims);
        RETURN jsonb_build_object('facts', facts || jsonb_build_object('recorded_at', head.recorded_at));
    END IF;
    IF NOT follows THEN
        done := put_batch(p_log, head_position, p_recorded_at, p_tenants, p_stream_types, p_stream_ids, p_versions,
            p_event_types, p_schema_versions, p_event_ids, p_command_ids, p_metadata, p_payloads, p_payload_hashes,
            p_chain_hashes) IS NOT NULL;
        done := pg_advisory_unlock(7303, p_log);
    END IF;
    IF p_released <> '[]' THEN
        DELETE FROM claims c USING jsonb_to_recordset(p_released) AS old (tenant_id uuid, scope text, key text)
        WHERE c.log_id = p_log AND c.tenant_id = old.tenant_id AND c.scope = old.scope AND c.key = old.key;
    END IF;
    IF p_claimed <> '[]' THEN
        INSERT INTO claims SELECT p_log, new.*
        FROM jsonb_to_recordset(p_claimed) AS new (tenant_id uuid, scope text, key text, owner uuid);
    END IF;
    RETURN jsonb_build_object('written', head_position);
END $$;
