//! Rules that every table, whoever adds it, must keep: tenants apart, history unchangeable, nothing that could not be
//! distributed by tenant and log. Checked against PostgreSQL's own catalog.

use sqlx::{PgPool, Row};

use crate::store::{APP, ENGINE, Logs};

/// Tables of the platform itself, which hold nothing of a tenant's: no row-level security.
const OF_THE_PLATFORM: [&str; 7] =
    ["_sqlx_migrations", "leases", "logs", "parked_events", "projections", "sign_in_failures", "tenant_logs"];
/// Those of them whose rows belong to no log: read before a log is known, or by name.
const KEYED_OTHERWISE: [&str; 4] = ["_sqlx_migrations", "parked_events", "projections", "sign_in_failures"];

async fn catalog() -> (Logs, PgPool) {
    let logs = Logs::start().await;
    let pool =
        sqlx::postgres::PgPoolOptions::new().max_connections(1).connect(&logs.database.owner_url).await;
    (logs, pool.expect("a connection"))
}

async fn texts(pool: &PgPool, query: &'static str) -> Vec<String> {
    sqlx::query_scalar(query).fetch_all(pool).await.expect(query)
}

/// Ordinary and partitioned tables of ours. `read.` is written out, `public.` is not.
const TABLES: &str = "SELECT c.oid::regclass::text FROM pg_class c
    WHERE c.relnamespace IN ('public'::regnamespace, 'read'::regnamespace) AND c.relkind IN ('r', 'p') ORDER BY 1";

#[tokio::test]
async fn the_exceptions_are_still_there() {
    let (_logs, pool) = catalog().await;
    let tables = texts(&pool, TABLES).await;
    for name in OF_THE_PLATFORM.iter().chain(&KEYED_OTHERWISE) {
        assert!(tables.iter().any(|table| table == name), "{name} is excepted, but does not exist");
    }
    assert!(tables.iter().any(|table| table == "read.documents"), "{tables:?}");
}

#[tokio::test]
async fn every_key_begins_with_the_tenant_or_the_log() {
    let (_logs, pool) = catalog().await;
    let keys = sqlx::query(
        "SELECT c.oid::regclass::text AS table, i.indexrelid::regclass::text AS index, i.indisprimary AS is_primary,
             (SELECT a.attname::text FROM pg_attribute a
              WHERE a.attrelid = c.oid AND a.attnum = i.indkey[0]) AS first_column
         FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid AND i.indisunique
         WHERE c.relnamespace IN ('public'::regnamespace, 'read'::regnamespace)",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let mut with_primary_key = Vec::new();
    for key in &keys {
        let (table, index): (String, String) = (key.get("table"), key.get("index"));
        if key.get("is_primary") {
            with_primary_key.push(table.clone());
        }
        let first: Option<String> = key.get("first_column");
        let allowed = matches!(first.as_deref(), Some("tenant_id" | "log_id"));
        assert!(
            allowed || KEYED_OTHERWISE.contains(&table.as_str()),
            "{index} of {table} begins with {first:?}"
        );
    }
    for table in texts(&pool, TABLES).await {
        assert!(with_primary_key.contains(&table), "{table} has no primary key");
    }
}

#[tokio::test]
async fn row_level_security_is_forced_wherever_a_tenant_has_rows() {
    let (_logs, pool) = catalog().await;
    let tables = sqlx::query(
        "SELECT c.oid::regclass::text AS name, c.relrowsecurity AND c.relforcerowsecurity AS forced,
             (SELECT array_agg(p.polname || ' for ' || p.polcmd::text || ' to '
                 || array_to_string(p.polroles::regrole[], ',') || ' using ' || pg_get_expr(p.polqual, p.polrelid)
                 ORDER BY p.polname) FROM pg_policy p WHERE p.polrelid = c.oid) AS policies
         FROM pg_class c
         WHERE c.relnamespace IN ('public'::regnamespace, 'read'::regnamespace) AND c.relkind IN ('r', 'p')",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    for table in tables {
        let name: String = table.get("name");
        if OF_THE_PLATFORM.contains(&name.as_str()) {
            continue;
        }
        assert!(table.get::<bool, _>("forced"), "{name}: row-level security is not enabled and forced");
        let policies: Option<Vec<String>> = table.get("policies");
        let wanted = [
            "all_tenants for * to omnistream_engine using true",
            "one_tenant for * to omnistream_app using (tenant_id = current_tenant())",
        ];
        assert_eq!(policies.unwrap_or_default(), wanted, "{name}: see protect_tenant and make_read_model");
    }
}

#[tokio::test]
async fn there_are_no_sequences_and_no_triggers() {
    let (_logs, pool) = catalog().await;
    let sequences = "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'S'";
    assert_eq!(
        texts(&pool, sequences).await,
        [""; 0],
        "a sequence hands out numbers that commit in another order"
    );
    let triggers = "SELECT tgrelid::regclass || ': ' || tgname FROM pg_trigger WHERE NOT tgisinternal";
    assert_eq!(texts(&pool, triggers).await, [""; 0], "distributed tables can't have triggers");
}

#[tokio::test]
async fn the_app_role_only_reads() {
    let (_logs, pool) = catalog().await;
    let writable = "SELECT c.oid::regclass || ' ' || privilege
        FROM pg_class c, unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER', 'REFERENCES']) AS privilege
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
            AND (has_table_privilege('omnistream_app', c.oid, privilege)
                OR privilege IN ('INSERT', 'UPDATE') AND has_any_column_privilege('omnistream_app', c.oid, privilege))";
    assert_eq!(texts(&pool, writable).await, [""; 0]);
    let creatable =
        "SELECT nspname::text FROM pg_namespace WHERE has_schema_privilege('omnistream_app', oid, 'CREATE')
        AND nspname NOT LIKE 'pg_temp%'";
    assert_eq!(texts(&pool, creatable).await, [""; 0]);
    let secrets = "SELECT t FROM unnest(ARRAY['claims', 'subject_keys', 'snapshots', 'idempotency_keys', 'sign_in_failures']) t
        WHERE has_table_privilege('omnistream_app', t, 'SELECT')";
    assert_eq!(texts(&pool, secrets).await, [""; 0], "not even to be read");
}

#[tokio::test]
async fn the_roles_have_no_way_around_the_walls() {
    let (_logs, pool) = catalog().await;
    let strong = "SELECT rolname::text FROM pg_roles WHERE rolname IN ('omnistream_app', 'omnistream_engine')
        AND (rolsuper OR rolbypassrls OR rolcanlogin OR rolcreaterole OR rolcreatedb OR rolreplication)";
    assert_eq!(texts(&pool, strong).await, [""; 0]);
    let member: bool = sqlx::query_scalar("SELECT pg_has_role($1, $2, 'MEMBER')")
        .bind(APP)
        .bind(ENGINE)
        .fetch_one(&pool)
        .await
        .unwrap();
    assert!(!member, "the app role can become the engine");
}

#[tokio::test]
async fn the_engine_can_only_add_to_history() {
    let (_logs, pool) = catalog().await;
    let held = "SELECT privilege FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER', 'REFERENCES']) privilege
        WHERE has_table_privilege('omnistream_engine', 'events', privilege)";
    assert_eq!(texts(&pool, held).await, ["SELECT", "INSERT"]);
    let columns = "SELECT 'UPDATE' WHERE has_any_column_privilege('omnistream_engine', 'events', 'UPDATE')";
    assert_eq!(texts(&pool, columns).await, [""; 0]);
    let owner = "SELECT relowner::regrole::text FROM pg_class
        WHERE oid = 'events'::regclass AND pg_has_role('omnistream_engine', relowner, 'MEMBER')";
    assert_eq!(texts(&pool, owner).await, [""; 0], "an owner could do anything");
}

#[tokio::test]
async fn functions_with_the_engines_rights_are_closed_and_know_where_they_look() {
    let (_logs, pool) = catalog().await;
    let functions = sqlx::query(
        "SELECT p.oid::regprocedure::text AS name, has_function_privilege('public', p.oid, 'EXECUTE') AS is_open,
             (SELECT setting FROM unnest(p.proconfig) setting WHERE setting LIKE 'search_path=%') AS path
         FROM pg_proc p WHERE p.prosecdef",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert!(!functions.is_empty(), "the searches of the inbox are such functions");
    for function in functions {
        let name: String = function.get("name");
        assert!(!function.get::<bool, _>("is_open"), "anyone may call {name}");
        let path: Option<String> = function.get("path");
        let path = path.unwrap_or_else(|| panic!("{name} looks wherever its caller says"));
        assert!(!path.contains("$user"), "{name}: {path}");
    }
}
