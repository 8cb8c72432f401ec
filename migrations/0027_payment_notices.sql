-- What payment gateways told by webhook, stored before it is acknowledged and applied afterwards.

CREATE TABLE payment_notices (
    log_id smallint NOT NULL,
    gateway text NOT NULL,
    -- The gateway's name for the notice: repeated deliveries find the row.
    event_id text NOT NULL,
    -- The platform's: the account at the gateway is its own.
    tenant_id uuid NOT NULL,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'done', 'ignored', 'failed')),
    received_at timestamptz NOT NULL,
    -- Sealed with the platform's key; gone once the events hold what it said.
    raw text,
    attempts integer NOT NULL DEFAULT 0,
    -- By the database's clock.
    available_at timestamptz NOT NULL DEFAULT now(),
    -- Why it failed, was ignored or waits.
    reason text,
    finished_at timestamptz,
    PRIMARY KEY (log_id, gateway, event_id)
);
CREATE INDEX payment_notices_due ON payment_notices (log_id, received_at) WHERE status = 'pending';
CREATE INDEX payment_notices_finished ON payment_notices (log_id, finished_at) WHERE finished_at IS NOT NULL;
CALL protect_tenant('payment_notices');
GRANT SELECT, INSERT, UPDATE, DELETE ON payment_notices TO omnistream_engine;

-- A refund that was made at the gateway names its payment only.
CREATE INDEX documents_payment ON read.documents ((doc -> 'payment' ->> 'gateway_payment_id'))
    WHERE collection = 'invoice';
