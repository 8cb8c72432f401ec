-- Service levels: each conversation's clocks as they stand, and the breaches.

CREATE TABLE read.sla_status (
    tenant_id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    policy_id uuid,
    state jsonb NOT NULL,
    -- When to look again: to pin a policy, or because a limit is passed then. This is the timer.
    next_due_at timestamptz,
    PRIMARY KEY (tenant_id, conversation_id)
);
CREATE INDEX sla_status_due ON read.sla_status (next_due_at) WHERE next_due_at IS NOT NULL;
CALL make_read_model('read.sla_status');

CREATE TABLE read.sla_breaches (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    sla_policy_id uuid NOT NULL,
    breach_type text NOT NULL,
    threshold_secs bigint NOT NULL,
    actual_secs bigint NOT NULL,
    breached_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX sla_breaches_policy ON read.sla_breaches (tenant_id, sla_policy_id, breached_at DESC, id);
CALL make_read_model('read.sla_breaches');
