-- Chat expiration: which channels resolve silent conversations, and since when each customer has been silent.

CREATE TABLE read.resolving_rules (
    tenant_id uuid NOT NULL,
    channel text NOT NULL,
    after_hours bigint NOT NULL,
    PRIMARY KEY (tenant_id, channel)
);
CALL make_read_model('read.resolving_rules');

CREATE TABLE read.silences (
    tenant_id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    channel text NOT NULL,
    status text NOT NULL,
    last_customer_message_at timestamptz,
    reopened_at timestamptz,
    created_at timestamptz NOT NULL,
    -- NULL while resolved. With the hours of the channel's rule it is the timer.
    silent_since timestamptz,
    PRIMARY KEY (tenant_id, conversation_id)
);
CREATE INDEX silences_longest ON read.silences (tenant_id, channel, silent_since) WHERE silent_since IS NOT NULL;
CALL make_read_model('read.silences');
