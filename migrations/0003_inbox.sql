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
        lower(coalesce(name, '') || ' ' || coalesce(phone_number, '') || ' ' || coalesce(email, ''))) STORED,
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
CREATE INDEX conversations_division ON read.conversations (tenant_id, division_id, last_message_at DESC, id);
CREATE INDEX conversations_contact ON read.conversations (tenant_id, contact_id, last_message_at DESC);
CREATE INDEX conversations_channel ON read.conversations (tenant_id, channel, last_message_at DESC, id);
CREATE INDEX conversations_tags ON read.conversations USING gin (tenant_id, tags);
CALL make_read_model('read.conversations');

CREATE TABLE read.messages (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    -- The 24-hex id that clients see; orders a conversation's messages.
    object_id text NOT NULL,
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

-- Operators that are not leakproof can't use an index under row-level security, so text is searched in these two
-- functions, which run as the engine and ask for the tenant of the transaction themselves.
CREATE FUNCTION read.search_messages(query text, in_conversation uuid, on_channel text, at_most bigint)
    RETURNS SETOF uuid LANGUAGE sql STABLE SECURITY DEFINER SET search_path = read, public AS $$
    SELECT id FROM read.messages
    WHERE tenant_id = current_tenant() AND search @@ websearch_to_tsquery('simple', query)
        AND (in_conversation IS NULL OR conversation_id = in_conversation)
        AND (on_channel IS NULL OR channel = on_channel)
    ORDER BY object_id DESC LIMIT at_most
$$;
CREATE FUNCTION read.search_contacts(fragment text, at_most bigint)
    RETURNS SETOF uuid LANGUAGE sql STABLE SECURITY DEFINER SET search_path = read, public AS $$
    SELECT id FROM read.contacts
    WHERE tenant_id = current_tenant()
        AND search_text LIKE '%' || replace(replace(replace(lower(fragment), '\', '\\'), '%', '\%'), '_', '\_') || '%'
    ORDER BY created_at DESC LIMIT at_most
$$;
ALTER FUNCTION read.search_messages OWNER TO omnistream_engine;
ALTER FUNCTION read.search_contacts OWNER TO omnistream_engine;
REVOKE ALL ON FUNCTION read.search_messages, read.search_contacts FROM PUBLIC;
GRANT EXECUTE ON FUNCTION read.search_messages, read.search_contacts TO omnistream_app;

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
