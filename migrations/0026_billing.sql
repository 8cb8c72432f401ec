-- Billing: what time makes necessary for each subscription, and refunds that are on their way.

CREATE TABLE read.subscription_timers (
    tenant_id uuid NOT NULL,
    subscription_id uuid NOT NULL,
    plan_id uuid,
    status text,
    state jsonb NOT NULL,
    -- When something is to be done next. This is the timer.
    next_due_at timestamptz,
    PRIMARY KEY (tenant_id, subscription_id)
);
CREATE INDEX subscription_timers_due ON read.subscription_timers (next_due_at) WHERE next_due_at IS NOT NULL;
-- Whether anyone is subscribed to a plan.
CREATE INDEX subscription_timers_plan ON read.subscription_timers (plan_id) WHERE status <> 'canceled';
CALL make_read_model('read.subscription_timers');

CREATE TABLE read.pending_refunds (
    tenant_id uuid NOT NULL,
    invoice_id uuid NOT NULL,
    requested_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, invoice_id)
);
CREATE INDEX pending_refunds_requested ON read.pending_refunds (requested_at);
CALL make_read_model('read.pending_refunds');
