-- What channels delivered, stored before it is acknowledged and processed afterwards, per log in the order of arrival.

CREATE TABLE inbound (
    log_id smallint NOT NULL,
    -- Ordered by time.
    id uuid NOT NULL,
    -- The platform's own tenant where nobody's account is named.
    tenant_id uuid NOT NULL,
    account_id uuid,
    channel text NOT NULL,
    -- A whole webhook body that could not be cut, or one change of it.
    form text NOT NULL CHECK (form IN ('body', 'change')),
    status text NOT NULL CHECK (status IN ('pending', 'waiting', 'done', 'ignored', 'failed')),
    received_at timestamptz NOT NULL,
    -- Sealed with the platform's key; gone once the events hold what it said.
    raw text,
    -- SHA-256 of what raw held, to recognise a payload after it is gone.
    raw_hash bytea NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    -- By the database's clock.
    available_at timestamptz NOT NULL DEFAULT now(),
    -- The channel's ids of messages whose sending has to be recorded before this can be applied.
    waiting_for text[] NOT NULL DEFAULT '{}',
    -- Why it failed, was ignored or waits.
    reason text,
    finished_at timestamptz,
    PRIMARY KEY (log_id, id)
);
CREATE INDEX inbound_due ON inbound (log_id, id) WHERE status IN ('pending', 'waiting');
CREATE INDEX inbound_failed ON inbound (log_id, id) WHERE status = 'failed';
CREATE INDEX inbound_finished ON inbound (log_id, finished_at) WHERE finished_at IS NOT NULL;
CALL protect_tenant('inbound');
GRANT SELECT, INSERT, UPDATE, DELETE ON inbound TO omnistream_engine;

-- Which process works on a queue of a log. Times are the database's: a lease is about processes, not about business.
CREATE TABLE leases (
    log_id smallint NOT NULL,
    name text NOT NULL,
    owner uuid NOT NULL,
    lease_until timestamptz NOT NULL,
    PRIMARY KEY (log_id, name)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON leases TO omnistream_engine;

-- Changes to message templates name the business account and no number.
CREATE INDEX documents_waba ON read.documents ((doc -> 'config' -> 'plain' ->> 'waba_id'))
    WHERE collection = 'integration_account';
