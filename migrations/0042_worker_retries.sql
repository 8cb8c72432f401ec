-- What fails again and again must not hold up what comes after it: a wait before the next attempt, as in the other
-- queues of process managers.
ALTER TABLE csat_answers
    ADD COLUMN attempts integer NOT NULL DEFAULT 0,
    ADD COLUMN available_at timestamptz NOT NULL DEFAULT now();
CREATE INDEX csat_answers_due ON csat_answers (log_id, available_at);

-- An agent who comes online gets from the queues what waits there: such a row names the agent instead of a conversation.
ALTER TABLE allocations
    ADD COLUMN attempts integer NOT NULL DEFAULT 0,
    ADD COLUMN available_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN agent_id uuid,
    ALTER COLUMN conversation_id DROP NOT NULL,
    ADD CONSTRAINT allocations_subject CHECK (num_nonnulls(conversation_id, agent_id) = 1);
CREATE INDEX allocations_due ON allocations (log_id, available_at);

-- A division's queue, the longest waiting first.
CREATE INDEX conversations_waiting ON read.conversations (tenant_id, division_id, created_at, id)
    WHERE status = 'open' AND assigned_agent_id IS NULL;
