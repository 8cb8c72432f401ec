-- Revenue of the platform: two books, each by the entry and summed per UTC day. Each log keeps its own share, in rows of
-- the platform's tenant; a question adds them up. Amounts are whole minor units of their currency: exact, and summed as
-- integers.

CREATE TABLE read.revenue_subscription_entries (
    log_id smallint NOT NULL,
    position bigint NOT NULL,
    -- 0 for the plan that is left, or the only one there is; 1 for the one that is entered.
    side smallint NOT NULL,
    tenant_id uuid NOT NULL,
    org_id uuid NOT NULL,
    subscription_id uuid NOT NULL,
    recorded_at timestamptz NOT NULL,
    day date NOT NULL,
    currency text NOT NULL,
    plan_id uuid NOT NULL,
    plan_name text NOT NULL,
    trialing bigint NOT NULL,
    active bigint NOT NULL,
    past_due bigint NOT NULL,
    mrr bigint NOT NULL,
    new_mrr bigint NOT NULL,
    expansion_mrr bigint NOT NULL,
    reactivation_mrr bigint NOT NULL,
    contraction_mrr bigint NOT NULL,
    churned_mrr bigint NOT NULL,
    joined bigint NOT NULL,
    churned bigint NOT NULL,
    PRIMARY KEY (log_id, position, side)
);
-- The part of a day until a moment.
CREATE INDEX revenue_subscription_entries_day ON read.revenue_subscription_entries (currency, day, recorded_at);
CALL make_read_model('read.revenue_subscription_entries');

CREATE TABLE read.revenue_subscription_days (
    log_id smallint NOT NULL,
    currency text NOT NULL,
    plan_id uuid NOT NULL,
    day date NOT NULL,
    tenant_id uuid NOT NULL,
    plan_name text NOT NULL,
    trialing bigint NOT NULL,
    active bigint NOT NULL,
    past_due bigint NOT NULL,
    mrr bigint NOT NULL,
    new_mrr bigint NOT NULL,
    expansion_mrr bigint NOT NULL,
    reactivation_mrr bigint NOT NULL,
    contraction_mrr bigint NOT NULL,
    churned_mrr bigint NOT NULL,
    joined bigint NOT NULL,
    churned bigint NOT NULL,
    PRIMARY KEY (log_id, currency, plan_id, day)
);
CREATE INDEX revenue_subscription_days_currency ON read.revenue_subscription_days (currency, day);
CREATE INDEX revenue_subscription_days_plan ON read.revenue_subscription_days (plan_id);
CALL make_read_model('read.revenue_subscription_days');

CREATE TABLE read.revenue_payment_entries (
    log_id smallint NOT NULL,
    position bigint NOT NULL,
    tenant_id uuid NOT NULL,
    org_id uuid NOT NULL,
    invoice_id uuid NOT NULL,
    recorded_at timestamptz NOT NULL,
    day date NOT NULL,
    currency text NOT NULL,
    -- The first day of the month that it counts for: when the invoice was finalized, or when it was paid.
    month date NOT NULL,
    invoices bigint NOT NULL,
    payments bigint NOT NULL,
    collected bigint NOT NULL,
    refunded bigint NOT NULL,
    -- The tax within what was collected and not refunded.
    tax bigint NOT NULL,
    PRIMARY KEY (log_id, position)
);
CREATE INDEX revenue_payment_entries_day ON read.revenue_payment_entries (currency, day, recorded_at);
CALL make_read_model('read.revenue_payment_entries');

CREATE TABLE read.revenue_payment_days (
    log_id smallint NOT NULL,
    currency text NOT NULL,
    month date NOT NULL,
    day date NOT NULL,
    tenant_id uuid NOT NULL,
    invoices bigint NOT NULL,
    payments bigint NOT NULL,
    collected bigint NOT NULL,
    refunded bigint NOT NULL,
    tax bigint NOT NULL,
    PRIMARY KEY (log_id, currency, month, day)
);
CREATE INDEX revenue_payment_days_month ON read.revenue_payment_days (currency, month, day);
CALL make_read_model('read.revenue_payment_days');

-- What was agreed and invoiced, as far as the books need to know it to see what an event changes.
CREATE TABLE read.revenue_terms (
    tenant_id uuid NOT NULL,
    subscription_id uuid NOT NULL,
    state jsonb NOT NULL,
    has_counted boolean NOT NULL,
    PRIMARY KEY (tenant_id, subscription_id)
);
CALL make_read_model('read.revenue_terms');

CREATE TABLE read.revenue_invoices (
    tenant_id uuid NOT NULL,
    invoice_id uuid NOT NULL,
    subtotal jsonb NOT NULL,
    total jsonb NOT NULL,
    paid_at timestamptz,
    refunded jsonb NOT NULL,
    PRIMARY KEY (tenant_id, invoice_id)
);
CALL make_read_model('read.revenue_invoices');
-- The platform's administrators name an invoice without its tenant.
CREATE INDEX revenue_invoices_id ON read.revenue_invoices (invoice_id);
