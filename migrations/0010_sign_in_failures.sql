-- Failed attempts to sign in, before anyone's tenant is known: the key is an account or an address, hashed.
CREATE TABLE sign_in_failures (
    scope text NOT NULL,
    key_hash text NOT NULL,
    -- Within the window, oldest first.
    failed_at timestamptz[] NOT NULL,
    last_failed_at timestamptz NOT NULL,
    PRIMARY KEY (scope, key_hash)
);
CREATE INDEX sign_in_failures_last ON sign_in_failures (last_failed_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON sign_in_failures TO omnistream_engine;

-- Tenants whose provisioning was interrupted.
CREATE INDEX documents_provisioning ON read.documents (created_at)
    WHERE collection = 'organization' AND doc ->> 'status' = 'provisioning';
