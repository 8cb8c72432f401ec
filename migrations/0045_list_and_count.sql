-- Lists by tag and searches: a GIN index tells what matches, but in no order, and looking each match up again by its id
-- cost more than finding it. Whether there are many is now known from counting, which lists do anyway: of a few the
-- newest are sorted out, of many they are met soon on the way along the order's index. The functions before these stay
-- for programs that ask them.

-- The part of a list that is wanted, in order, and how many there are, counting no further than at_most.
-- of_contact: a piece of the name, phone number or email address. sort_by: last_message_at, created_at, unread_count.
CREATE FUNCTION read.list_conversations(
    in_status text, on_channel text, of_agent uuid, unassigned boolean, of_division uuid, with_tag text, of_contact text,
    sort_by text, ascending boolean, wanted bigint, skipping bigint, at_most bigint, OUT ids uuid[], OUT counted bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = read, public SET enable_seqscan = off SET enable_indexscan = on AS $$
DECLARE
    people uuid[];
    matching text;
    -- What only a bitmap of the GIN index finds.
    is_tagged CONSTANT boolean := with_tag IS NOT NULL AND of_contact IS NULL;
    in_order text := CASE WHEN ascending THEN format('ORDER BY c.%I, c.id DESC', sort_by) ELSE format('ORDER BY c.%I DESC, c.id', sort_by) END;
BEGIN
    IF of_contact IS NOT NULL THEN
        people := all_if_few('contacts', 'search_text LIKE $2', containing(of_contact));
    END IF;
    matching := 'SELECT c.id FROM read.conversations c WHERE c.tenant_id = $1'
        || CASE WHEN in_status IS NULL THEN '' ELSE ' AND c.status = $2' END
        || CASE WHEN on_channel IS NULL THEN '' ELSE ' AND c.channel = $3' END
        || CASE WHEN of_agent IS NULL THEN '' ELSE ' AND c.assigned_agent_id = $4' END
        || CASE WHEN unassigned THEN ' AND c.assigned_agent_id IS NULL' ELSE '' END
        || CASE WHEN of_division IS NULL THEN '' ELSE ' AND c.division_id = $5' END
        || CASE WHEN with_tag IS NULL THEN '' ELSE ' AND c.tags @> ARRAY[$6]' END
        || CASE WHEN of_contact IS NULL THEN ''
            WHEN people IS NULL THEN ' AND EXISTS (SELECT FROM read.contacts p
                WHERE p.tenant_id = $1 AND p.id = c.contact_id AND p.search_text LIKE $7)'
            ELSE ' AND c.contact_id = ANY ($8)' END;
    PERFORM set_config('enable_indexscan', CASE WHEN is_tagged THEN 'off' ELSE 'on' END, true);
    EXECUTE format('SELECT count(*) FROM (%s LIMIT $9) f', matching) INTO counted
        USING current_tenant(), in_status, on_channel, of_agent, of_division, with_tag, containing(of_contact), people, at_most;
    PERFORM set_config('enable_indexscan', CASE WHEN is_tagged AND counted < at_most THEN 'off' ELSE 'on' END, true);
    EXECUTE format('SELECT ARRAY(%s %s LIMIT $9 OFFSET $10)', matching, in_order) INTO ids
        USING current_tenant(), in_status, on_channel, of_agent, of_division, with_tag, containing(of_contact), people, wanted,
            skipping;
END $$;

-- The newest messages that a search finds, and how many it finds, counting no further than at_most. query as a web
-- search has it: words, "phrases", or, -not.
CREATE FUNCTION read.search_messages(
    query text, in_conversation uuid, on_channel text, wanted bigint, at_most bigint, OUT ids uuid[], OUT counted bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = read, public SET enable_seqscan = off SET enable_indexscan = on SET enable_bitmapscan = on AS $$
DECLARE
    words CONSTANT tsquery := websearch_to_tsquery('simple', query);
    matching CONSTANT text := 'SELECT id, object_id FROM read.messages WHERE tenant_id = $1 AND search @@ $2'
        || CASE WHEN in_conversation IS NULL THEN '' ELSE ' AND conversation_id = $3' END
        || CASE WHEN on_channel IS NULL THEN '' ELSE ' AND channel = $4' END;
    newest CONSTANT text := 'SELECT array_agg(id ORDER BY object_id DESC), count(*) FROM (%s LIMIT $5) f';
BEGIN
    -- A conversation is short enough to look through; of all of them, the GIN index tells which.
    PERFORM set_config('enable_indexscan', CASE WHEN in_conversation IS NULL THEN 'off' ELSE 'on' END, true);
    EXECUTE format(newest, matching) INTO ids, counted
        USING current_tenant(), words, in_conversation, on_channel, at_most;
    IF counted < at_most THEN
        ids := ids[1:wanted];
        RETURN;
    END IF;
    PERFORM set_config('enable_indexscan', 'on', true), set_config('enable_bitmapscan', 'off', true);
    EXECUTE format(newest, matching || ' ORDER BY object_id DESC') INTO ids
        USING current_tenant(), words, in_conversation, on_channel, wanted;
END $$;

ALTER FUNCTION read.list_conversations OWNER TO omnistream_engine;
ALTER FUNCTION read.search_messages OWNER TO omnistream_engine;
REVOKE ALL ON FUNCTION read.list_conversations, read.search_messages FROM PUBLIC;
GRANT EXECUTE ON FUNCTION read.list_conversations, read.search_messages TO omnistream_app;
