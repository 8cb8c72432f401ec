-- Whether a search finds more than is counted is seen from the newest messages alone. The GIN index collects all that a
-- word is in before anything can be counted, and of a frequent word that was a third of a second for ten million
-- messages.

-- With the stretch of time that a message belongs to: ids begin with the second that they were made in, as 8 hex digits, so
-- that 5 of them are 4,096 seconds. Made before the old index goes, so that nobody searches without one.
CREATE INDEX messages_words ON read.messages USING gin (tenant_id, search, left(object_id, 5));
DROP INDEX read.messages_search;
ALTER INDEX read.messages_words RENAME TO messages_search;

-- Whether so many are found among the newest messages of the tenant. No is no answer: what is rare there is to be counted.
CREATE FUNCTION read.finds_many(words tsquery, on_channel text, at_most bigint) RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path = read, public SET enable_seqscan = off SET enable_indexscan = on SET enable_bitmapscan = on AS $$
DECLARE
    stretches CONSTANT int := 64;
    matching CONSTANT text := 'SELECT count(*) FROM (SELECT FROM read.messages WHERE tenant_id = $1 AND search @@ $2
        AND left(object_id, 5) = $3' || CASE WHEN on_channel IS NULL THEN '' ELSE ' AND channel = $4' END || ' LIMIT $5) f';
    stretch text := 'g'; -- after all hex digits
    found bigint := 0;
    more bigint;
    setting text;
BEGIN
    FOR looked IN 1..stretches LOOP
        stretch := (SELECT left(m.object_id, 5) FROM read.messages m
            WHERE m.tenant_id = current_tenant() AND m.object_id < stretch ORDER BY m.object_id DESC LIMIT 1);
        IF stretch IS NULL THEN
            RETURN false;
        END IF;
        setting := set_config('enable_indexscan', 'off', true);
        EXECUTE matching INTO more USING current_tenant(), words, stretch, on_channel, at_most - found;
        setting := set_config('enable_indexscan', 'on', true);
        found := found + more;
        IF found >= at_most THEN
            RETURN true;
        ELSIF found * stretches < at_most * looked THEN
            RETURN false;
        END IF;
    END LOOP;
    RETURN false;
END $$;

-- As before, but what is frequent is not counted in full.
CREATE OR REPLACE FUNCTION read.search_messages(
    query text, in_conversation uuid, on_channel text, wanted bigint, at_most bigint, OUT ids uuid[], OUT counted bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = read, public SET enable_seqscan = off SET enable_indexscan = on SET enable_bitmapscan = on AS $$
DECLARE
    latest CONSTANT bigint := 5000 + 20 * wanted;
    words CONSTANT tsquery := websearch_to_tsquery('simple', query);
    listed CONSTANT text := 'SELECT id, object_id, search FROM read.messages WHERE tenant_id = $1'
        || CASE WHEN in_conversation IS NULL THEN '' ELSE ' AND conversation_id = $3' END
        || CASE WHEN on_channel IS NULL THEN '' ELSE ' AND channel = $4' END;
    matching CONSTANT text := ' AND search @@ $2';
    newest CONSTANT text := ' ORDER BY object_id DESC';
    found CONSTANT text := 'SELECT array_agg(id ORDER BY object_id DESC), count(*) FROM (%s LIMIT $5) f';
BEGIN
    IF at_most IS NULL OR in_conversation IS NULL AND finds_many(words, on_channel, at_most) THEN
        counted := at_most;
    ELSE
        -- A conversation is short enough to look through; of all of them, the GIN index tells which.
        PERFORM set_config('enable_indexscan', CASE WHEN in_conversation IS NULL THEN 'off' ELSE 'on' END, true);
        EXECUTE format(found, listed || matching) INTO ids, counted
            USING current_tenant(), words, in_conversation, on_channel, at_most;
        IF counted < at_most THEN
            ids := ids[1:wanted];
            RETURN;
        END IF;
    END IF;
    PERFORM set_config('enable_indexscan', 'on', true), set_config('enable_bitmapscan', 'off', true);
    EXECUTE format(found, format('SELECT * FROM (%s LIMIT %s) m WHERE true', listed || newest, latest) || matching || newest)
        INTO ids USING current_tenant(), words, in_conversation, on_channel, wanted;
    IF cardinality(ids) = wanted THEN
        RETURN;
    END IF;
    PERFORM set_config('enable_bitmapscan', 'on', true), set_config('enable_indexscan', 'off', true);
    EXECUTE format(found, listed || matching || newest) INTO ids
        USING current_tenant(), words, in_conversation, on_channel, wanted;
END $$;

ALTER FUNCTION read.finds_many OWNER TO omnistream_engine;
REVOKE ALL ON FUNCTION read.finds_many FROM PUBLIC;
