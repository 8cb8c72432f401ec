-- Handing conversations to agents, and the history of transfers between them.

-- When each agent was last given a conversation: who has been idle longest goes first.
CREATE TABLE read.agent_turns (
    tenant_id uuid NOT NULL,
    agent_id uuid NOT NULL,
    last_assigned_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, agent_id)
);
CALL make_read_model('read.agent_turns');

-- An agent's open conversations are few, however many were resolved.
CREATE INDEX conversations_open_of_agent ON read.conversations (tenant_id, assigned_agent_id) WHERE status <> 'resolved';

CREATE TABLE read.transfers (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    transferred_by uuid NOT NULL,
    from_agent_id uuid,
    to_agent_id uuid,
    to_division_id uuid,
    note text,
    created_at timestamptz NOT NULL,
    contact_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX transfers_conversation ON read.transfers (tenant_id, conversation_id, created_at DESC, id);
CREATE INDEX transfers_contact ON read.transfers (tenant_id, contact_id);
CALL make_read_model('read.transfers');

-- Conversations that opened or reopened and may need an agent: written by the process manager, taken by the worker.
CREATE TABLE allocations (
    log_id smallint NOT NULL,
    position bigint NOT NULL,
    tenant_id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    PRIMARY KEY (log_id, position)
);
CALL protect_tenant('allocations');
GRANT SELECT, INSERT, UPDATE, DELETE ON allocations TO omnistream_engine;
