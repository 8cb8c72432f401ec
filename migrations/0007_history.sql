-- What auditors filter the log by. The log is the hot append path, so every index here must earn its writes.

-- Columns rather than expressions on metadata: under row-level security an index serves only what can't leak, and
-- reading JSON counts as what can. What the system does by itself has no actor, and costs the index nothing.
ALTER TABLE events
    ADD COLUMN correlation_id uuid GENERATED ALWAYS AS ((metadata ->> 'correlation_id')::uuid) STORED,
    ADD COLUMN actor_id uuid GENERATED ALWAYS AS (
        NULLIF((metadata -> 'actor' ->> 'id')::uuid, '00000000-0000-0000-0000-000000000000')) STORED;

-- One request's events: a handful anywhere in the log. Ids are ordered by time, so each entry goes to the index's end.
CREATE INDEX events_correlation ON events (log_id, correlation_id);
-- One person's or program's doings, in order.
CREATE INDEX events_actor ON events (log_id, tenant_id, actor_id, position) WHERE actor_id IS NOT NULL;
-- One kind of event, in order. Rare ones would otherwise be searched for in the whole history; those of every message
-- are found wherever one looks, and this is the costliest index of the log (measured: half of what these three add to
-- an append), so messages don't pay for it.
CREATE INDEX events_type ON events (log_id, tenant_id, event_type, position)
    WHERE event_type NOT IN ('message.received', 'message.queued', 'message.sent', 'message.delivered', 'message.read');

-- Times need no index: recorded_at never decreases with the position, so a time is found by halving the tenant's
-- positions, each step one look into events_tenant. Answers the position from which on the tenant's events were
-- recorded at that time or later.
CREATE FUNCTION first_position_since(p_log smallint, p_tenant uuid, p_since timestamptz) RETURNS bigint
    LANGUAGE plpgsql STABLE AS $$
DECLARE
    older bigint := 0; -- the tenant's events up to here are older
    since bigint;      -- those from here on are not
    middle bigint;
    probe record;
BEGIN
    SELECT coalesce(max(position), 0) + 1 INTO since FROM events WHERE log_id = p_log AND tenant_id = p_tenant;
    WHILE older + 1 < since LOOP
        middle := (older + since) / 2;
        SELECT position, recorded_at INTO probe FROM events
        WHERE log_id = p_log AND tenant_id = p_tenant AND position >= middle AND position < since
        ORDER BY position LIMIT 1;
        IF probe.recorded_at < p_since THEN
            older := probe.position;
        ELSE
            since := middle;
        END IF;
    END LOOP;
    RETURN since;
END $$;
