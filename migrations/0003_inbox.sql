-- The inbox: contacts, conversations and messages, made for the lists that agents look at all day.

CREATE EXTENSION IF NOT EXISTS btree_gin WITH SCHEMA public;
CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public;

CREATE TABLE read.contacts (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    channel text NOT NULL,
    address text,
    name text,
    phone_number text,
    email text,
    tags text[] NOT NULL,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    erased_at timestamptz,
    search_text text GENERATED ALWAYS AS (
        lower(' ' || coalesce(name, '') || ' ' || coalesce(phone_number, '') || ' ' || coalesce(email, ''))) STORED,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX contacts_created ON read.contacts (tenant_id, created_at DESC, id);
CREATE INDEX contacts_channel ON read.contacts (tenant_id, channel, created_at DESC, id);
CREATE INDEX contacts_tags ON read.contacts USING gin (tenant_id, tags);
CREATE INDEX contacts_search ON read.contacts USING gin (tenant_id, search_text gin_trgm_ops);
CALL make_read_model('read.contacts');

CREATE TABLE read.conversations (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    contact_id uuid NOT NULL,
    account_id uuid NOT NULL,
    channel text NOT NULL,
    status text NOT NULL,
    assigned_agent_id uuid,
    division_id uuid,
    tags text[] NOT NULL,
    unread_count bigint NOT NULL,
    ai_stopped boolean NOT NULL,
    last_customer_message_at timestamptz,
    last_message_at timestamptz NOT NULL,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX conversations_recent ON read.conversations (tenant_id, last_message_at DESC, id);
CREATE INDEX conversations_status ON read.conversations (tenant_id, status, last_message_at DESC, id);
CREATE INDEX conversations_created ON read.conversations (tenant_id, created_at DESC, id);
CREATE INDEX conversations_unread ON read.conversations (tenant_id, unread_count DESC, id);
CREATE INDEX conversations_agent ON read.conversations (tenant_id, assigned_agent_id, last_message_at DESC, id);
CREATE INDEX conversations_unassigned ON read.conversations (tenant_id, last_message_at DESC, id)
    WHERE assigned_agent_id IS NULL;
CREATE INDEX conversations_division ON read.conversations (tenant_id, division_id, last_message_at DESC, id);
CREATE INDEX conversations_contact ON read.conversations (tenant_id, contact_id, last_message_at DESC);
CREATE INDEX conversations_channel ON read.conversations (tenant_id, channel, last_message_at DESC, id);
CREATE INDEX conversations_tags ON read.conversations USING gin (tenant_id, tags);
CALL make_read_model('read.conversations');

CREATE TABLE read.messages (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    -- The 24-hex id that clients see; orders a conversation's messages.
    object_id text COLLATE "C" NOT NULL,
    conversation_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    account_id uuid NOT NULL,
    channel text NOT NULL,
    direction text NOT NULL,
    kind text NOT NULL,
    -- NULL once the contact is erased.
    content jsonb,
    search_text text NOT NULL,
    status text NOT NULL,
    external_id text,
    sender_phone text,
    error_message text,
    created_at timestamptz NOT NULL,
    search tsvector GENERATED ALWAYS AS (to_tsvector('simple', search_text)) STORED,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX messages_conversation ON read.messages (tenant_id, conversation_id, object_id DESC);
CREATE INDEX messages_object_id ON read.messages (tenant_id, object_id);
CREATE INDEX messages_contact ON read.messages (tenant_id, contact_id);
CREATE INDEX messages_search ON read.messages USING gin (tenant_id, search);
CALL make_read_model('read.messages');

-- Under row-level security an operator that is not leakproof (LIKE, @>, @@) can't use an index. So what a list holds is
-- found by the functions below, which run as the engine and filter by the transaction's tenant themselves. They answer
-- ids only: the rows behind them are read under row-level security. Their queries are put together from the filters
-- that are given, so that each combination is planned for its values.

-- The LIKE pattern of a piece of text. Trigrams need three characters: a shorter piece is looked for at the beginning
-- of a word, which counts as one.
CREATE FUNCTION read.containing(fragment text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN length(fragment) < 3 THEN '% ' ELSE '%' END
        || replace(replace(replace(lower(fragment), '\', '\\'), '%', '\%'), '_', '\_') || '%'
$$;

-- The ids of all the tenant's rows that meet a condition on $2, or NULL when they are more than 10,000. What is frequent
-- for one tenant may be rare for another and the planner can't tell, so it would walk through a whole history for the
-- one row that matches. This looks into the GIN index first; what is found to be frequent is then safe to walk to.
CREATE FUNCTION read.all_if_few(target text, condition text, value anyelement)
    RETURNS uuid[] LANGUAGE plpgsql STABLE
    SET search_path = read, public SET enable_seqscan = off SET enable_indexscan = off SET enable_indexonlyscan = off AS $$
DECLARE
    few CONSTANT bigint := 10000;
    found uuid[];
BEGIN
    EXECUTE format('SELECT array_agg(id) FROM (SELECT id FROM read.%I WHERE tenant_id = $1 AND %s LIMIT $3) f', target, condition)
        INTO found USING current_tenant(), value, few + 1;
    RETURN CASE WHEN found IS NULL THEN '{}' WHEN cardinality(found) <= few THEN found END;
END $$;

-- Newest first.
CREATE FUNCTION read.find_contacts(fragment text, on_channel text, with_tag text, at_most bigint, skipping bigint)
    RETURNS SETOF uuid LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 100 SET search_path = read, public AS $$
DECLARE
    named uuid[];
    tagged uuid[];
BEGIN
    IF fragment IS NOT NULL THEN
        named := all_if_few('contacts', 'search_text LIKE $2', containing(fragment));
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

-- of_contact: a piece of the name, phone number or email address. sort_by: last_message_at, created_at, unread_count, or
-- NULL to count.
CREATE FUNCTION read.find_conversations(
    in_status text, on_channel text, of_agent uuid, unassigned boolean, of_division uuid, with_tag text, of_contact text,
    sort_by text, ascending boolean, at_most bigint, skipping bigint)
    RETURNS SETOF uuid LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 100 SET search_path = read, public AS $$
DECLARE
    tagged uuid[];
    people uuid[];
BEGIN
    IF with_tag IS NOT NULL THEN
        tagged := all_if_few('conversations', 'tags @> ARRAY[$2]', with_tag);
    END IF;
    IF of_contact IS NOT NULL THEN
        people := all_if_few('contacts', 'search_text LIKE $2', containing(of_contact));
    END IF;
    RETURN QUERY EXECUTE
        'SELECT c.id FROM read.conversations c WHERE c.tenant_id = $1'
        || CASE WHEN in_status IS NULL THEN '' ELSE ' AND c.status = $2' END
        || CASE WHEN on_channel IS NULL THEN '' ELSE ' AND c.channel = $3' END
        || CASE WHEN of_agent IS NULL THEN '' ELSE ' AND c.assigned_agent_id = $4' END
        || CASE WHEN unassigned THEN ' AND c.assigned_agent_id IS NULL' ELSE '' END
        || CASE WHEN of_division IS NULL THEN '' ELSE ' AND c.division_id = $5' END
        || CASE WHEN with_tag IS NULL THEN '' WHEN tagged IS NULL THEN ' AND c.tags @> ARRAY[$6]' ELSE ' AND c.id = ANY ($7)' END
        || CASE WHEN of_contact IS NULL THEN ''
            WHEN people IS NULL THEN ' AND EXISTS (SELECT FROM read.contacts p
                WHERE p.tenant_id = $1 AND p.id = c.contact_id AND p.search_text LIKE $8)'
            ELSE ' AND c.contact_id = ANY ($9)' END
        || CASE WHEN sort_by IS NULL THEN ''
            WHEN ascending THEN format(' ORDER BY c.%I, c.id DESC', sort_by)
            ELSE format(' ORDER BY c.%I DESC, c.id', sort_by) END
        || ' LIMIT $10 OFFSET $11'
        USING current_tenant(), in_status, on_channel, of_agent, of_division, with_tag, tagged, containing(of_contact), people,
            at_most, skipping;
END $$;

-- Newest first. query as a web search has it: words, "phrases", or, -not.
CREATE FUNCTION read.find_messages(query text, in_conversation uuid, on_channel text, at_most bigint)
    RETURNS SETOF uuid LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 100 SET search_path = read, public AS $$
DECLARE
    wanted CONSTANT tsquery := websearch_to_tsquery('simple', query);
    worded uuid[];
BEGIN
    -- A conversation is short enough to look through.
    IF in_conversation IS NULL THEN
        worded := all_if_few('messages', 'search @@ $2', wanted);
    END IF;
    RETURN QUERY EXECUTE
        'SELECT id FROM read.messages WHERE tenant_id = $1'
        || CASE WHEN worded IS NULL THEN ' AND search @@ $2' ELSE ' AND id = ANY ($3)' END
        || CASE WHEN in_conversation IS NULL THEN '' ELSE ' AND conversation_id = $4' END
        || CASE WHEN on_channel IS NULL THEN '' ELSE ' AND channel = $5' END
        || ' ORDER BY object_id DESC LIMIT $6'
        USING current_tenant(), wanted, worded, in_conversation, on_channel, at_most;
END $$;

ALTER FUNCTION read.all_if_few OWNER TO omnistream_engine;
ALTER FUNCTION read.find_contacts OWNER TO omnistream_engine;
ALTER FUNCTION read.find_conversations OWNER TO omnistream_engine;
ALTER FUNCTION read.find_messages OWNER TO omnistream_engine;
REVOKE ALL ON FUNCTION read.all_if_few, read.find_contacts, read.find_conversations, read.find_messages FROM PUBLIC;
GRANT EXECUTE ON FUNCTION read.find_contacts, read.find_conversations, read.find_messages TO omnistream_app;

-- Who did what: one row per event that a person or a program of the tenant caused.
CREATE TABLE read.activity (
    tenant_id uuid NOT NULL,
    position bigint NOT NULL,
    event_id uuid NOT NULL,
    agent_id uuid,
    action text NOT NULL,
    target_type text NOT NULL,
    target_id uuid NOT NULL,
    metadata jsonb NOT NULL,
    ip_address text,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, position)
);
CALL make_read_model('read.activity');

-- Counts that would otherwise be counted at query time.
CREATE TABLE read.counters (
    tenant_id uuid NOT NULL,
    name text NOT NULL,
    -- '2026-11' for a month, '' for all time.
    period text NOT NULL,
    value bigint NOT NULL,
    PRIMARY KEY (tenant_id, name, period)
);
CALL make_read_model('read.counters');
