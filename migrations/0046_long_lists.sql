-- Lists of large tenants: one that is known to be long is not counted again; one whose index tells no order is looked
-- for among the latest first; phone numbers are found by pieces that few of them share.

-- Each run of digits, six at a time. Of trigrams of digits each is in so many numbers that intersecting them took longest.
CREATE FUNCTION read.number_pieces(in_text text) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(array_agg(DISTINCT substr(digits[1], place, 6)), '{}')
    FROM regexp_matches(in_text, '[0-9]{6,}', 'g') digits, generate_series(1, length(digits[1]) - 5) place
$$;
CREATE INDEX contacts_numbers ON read.contacts USING gin (tenant_id, read.number_pieces(search_text));

-- The contacts whose name, phone number or email address contains a piece of text, or NULL when they are more than
-- 10,000.
CREATE FUNCTION read.contacts_with(fragment text) RETURNS uuid[] LANGUAGE plpgsql STABLE SET search_path = read, public AS $$
BEGIN
    IF fragment ~ '^\+?[0-9]{6,}$' THEN
        -- Not LIKE on the column itself: that is what the trigrams are of.
        RETURN all_if_few('contacts', 'number_pieces(search_text) @> number_pieces($2)
            AND search_text || '''' LIKE containing($2)', fragment);
    END IF;
    RETURN all_if_few('contacts', 'search_text LIKE $2', containing(fragment));
END $$;

-- As before, but numbers are found by their pieces.
CREATE OR REPLACE FUNCTION read.find_contacts(fragment text, on_channel text, with_tag text, at_most bigint, skipping bigint)
    RETURNS SETOF uuid LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 100 SET search_path = read, public AS $$
DECLARE
    named uuid[];
    tagged uuid[];
BEGIN
    IF fragment IS NOT NULL THEN
        named := contacts_with(fragment);
    END IF;
    IF with_tag IS NOT NULL THEN
        tagged := all_if_few('contacts', 'tags @> ARRAY[$2]', with_tag);
    END IF;
    RETURN QUERY EXECUTE
        'SELECT id FROM read.contacts WHERE tenant_id = $1 AND erased_at IS NULL'
        || CASE WHEN on_channel IS NULL THEN '' ELSE ' AND channel = $2' END
        || CASE WHEN fragment IS NULL THEN '' WHEN named IS NULL THEN ' AND search_text LIKE $3' ELSE ' AND id = ANY ($4)' END
        || CASE WHEN with_tag IS NULL THEN '' WHEN tagged IS NULL THEN ' AND tags @> ARRAY[$5]' ELSE ' AND id = ANY ($6)' END
        || ' ORDER BY created_at DESC, id LIMIT $7 OFFSET $8'
        USING current_tenant(), on_channel, containing(fragment), named, with_tag, tagged, at_most, skipping;
END $$;

-- As before, but with at_most NULL the list is known to be long and is not counted; and a page of a long one is looked for
-- among the latest rows before all that match are found by their GIN index, and sorted.
CREATE OR REPLACE FUNCTION read.list_conversations(
    in_status text, on_channel text, of_agent uuid, unassigned boolean, of_division uuid, with_tag text, of_contact text,
    sort_by text, ascending boolean, wanted bigint, skipping bigint, at_most bigint, OUT ids uuid[], OUT counted bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = read, public SET enable_seqscan = off SET enable_indexscan = on AS $$
DECLARE
    latest CONSTANT bigint := 5000 + 20 * (skipping + wanted);
    -- Not of a long list: they may be as many.
    people CONSTANT uuid[] := CASE WHEN of_contact IS NOT NULL AND at_most IS NOT NULL THEN contacts_with(of_contact) END;
    -- What only a bitmap of the GIN index finds.
    is_tagged CONSTANT boolean := with_tag IS NOT NULL AND of_contact IS NULL;
    listed CONSTANT text := 'SELECT c.* FROM read.conversations c WHERE c.tenant_id = $1'
        || CASE WHEN in_status IS NULL THEN '' ELSE ' AND c.status = $2' END
        || CASE WHEN on_channel IS NULL THEN '' ELSE ' AND c.channel = $3' END
        || CASE WHEN of_agent IS NULL THEN '' ELSE ' AND c.assigned_agent_id = $4' END
        || CASE WHEN unassigned THEN ' AND c.assigned_agent_id IS NULL' ELSE '' END
        || CASE WHEN of_division IS NULL THEN '' ELSE ' AND c.division_id = $5' END;
    -- What no index has in order. The place is for what keeps the planner from reading all contacts at once.
    besides CONSTANT text := CASE WHEN with_tag IS NULL THEN '' ELSE ' AND c.tags @> ARRAY[$6]' END
        || CASE WHEN of_contact IS NULL THEN ''
            WHEN people IS NULL THEN ' AND EXISTS (SELECT FROM read.contacts p
                WHERE p.tenant_id = $1 AND p.id = c.contact_id AND p.search_text LIKE $7 %s)'
            ELSE ' AND c.contact_id = ANY ($8)' END;
    in_order CONSTANT text := CASE WHEN ascending THEN format(' ORDER BY c.%I, c.id DESC', sort_by)
        ELSE format(' ORDER BY c.%I DESC, c.id', sort_by) END;
    page CONSTANT text := 'SELECT ARRAY(SELECT c.id FROM (%s) c WHERE true %s %s LIMIT $9 OFFSET $10)';
BEGIN
    IF at_most IS NOT NULL THEN
        PERFORM set_config('enable_indexscan', CASE WHEN is_tagged THEN 'off' ELSE 'on' END, true);
        EXECUTE format('SELECT count(*) FROM (%s LIMIT $9) f', replace(listed, 'c.*', 'c.id') || format(besides, '')) INTO counted
            USING current_tenant(), in_status, on_channel, of_agent, of_division, with_tag, containing(of_contact), people, at_most;
    END IF;
    IF besides <> '' AND counted IS NOT DISTINCT FROM at_most THEN
        PERFORM set_config('enable_indexscan', 'on', true);
        EXECUTE format(page, listed || in_order || ' LIMIT ' || latest, format(besides, 'OFFSET 0'), in_order) INTO ids
            USING current_tenant(), in_status, on_channel, of_agent, of_division, with_tag, containing(of_contact), people, wanted,
                skipping;
        IF cardinality(ids) = wanted THEN
            RETURN;
        END IF;
    END IF;
    PERFORM set_config('enable_indexscan', CASE WHEN is_tagged THEN 'off' ELSE 'on' END, true);
    EXECUTE format(page, listed || format(besides, ''), '', in_order) INTO ids
        USING current_tenant(), in_status, on_channel, of_agent, of_division, with_tag, containing(of_contact), people, wanted,
            skipping;
END $$;

-- As before, but with at_most NULL it is known that many are found, and they are not counted; and the newest of many are
-- looked for among the latest messages first.
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
    IF at_most IS NOT NULL THEN
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

ALTER FUNCTION read.contacts_with OWNER TO omnistream_engine;
REVOKE ALL ON FUNCTION read.contacts_with FROM PUBLIC;
