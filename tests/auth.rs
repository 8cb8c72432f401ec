//! Registration, signing in and out, and what limits it.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::Row;

use crate::support::{Answer, Client, PASSWORD, Process, Server, eventually};

fn registration(email: &str) -> Value {
    json!({ "org_name": "Toko Maju", "admin_email": email, "admin_password": PASSWORD })
}

async fn login(client: &Client, email: &str, password: &str) -> Answer {
    client.post("/api/auth/login", json!({ "email": email, "password": password })).await
}

fn token(value: &Value) -> &str {
    value["token"].as_str().expect("a token")
}

/// The `access_token` cookie with its attributes.
fn cookie(answer: &Answer) -> &str {
    answer.header("set-cookie").expect("a cookie")
}

#[tokio::test]
async fn a_registered_admin_is_signed_in_and_can_sign_in_again() {
    let server = Server::start().await;
    let client = server.client();
    let registered =
        client.post("/api/auth/register", registration(" Ani@Toko.ID ")).await.expect(StatusCode::CREATED);
    let me = client.with_token(token(&registered)).get("/api/auth/me").await.expect(StatusCode::OK);
    assert_eq!(
        (&me["email"], &me["role"], &me["is_online"]),
        (&json!("ani@toko.id"), &json!("admin"), &json!(false))
    );
    let answer = login(&client, "ANI@toko.id", PASSWORD).await;
    let body = answer.expect(StatusCode::OK);
    assert_eq!(body["agent"], me);
    let sent = format!("access_token={}; HttpOnly; SameSite=Lax; Path=/; Max-Age=3600", token(&body));
    assert_eq!(cookie(&answer), sent);
    let by_cookie = client.with_header("cookie", &format!("access_token={}", token(&body)));
    by_cookie.get("/api/auth/me").await.expect(StatusCode::OK);
}

#[tokio::test]
async fn organizations_of_one_name_get_different_slugs() {
    let server = Server::start().await;
    let (one, two) = (server.tenant().await, server.tenant().await);
    let mut sql = server.sql().await;
    let rows = sqlx::query("SELECT doc ->> 'slug' AS slug, doc ->> 'status' AS status FROM read.documents WHERE id IN ($1, $2) AND collection = 'organization' ORDER BY created_at")
        .bind(one.id)
        .bind(two.id)
        .fetch_all(&mut sql)
        .await
        .unwrap();
    let slugs: Vec<String> = rows.iter().map(|row| row.get("slug")).collect();
    assert_eq!(slugs[0], "toko-maju");
    assert!(slugs[1].starts_with("toko-maju-") && slugs[1].len() == "toko-maju-".len() + 4, "{slugs:?}");
    assert!(rows.iter().all(|row| row.get::<String, _>("status") == "active"));
}

#[tokio::test]
async fn a_bad_registration_names_its_fields() {
    let server = Server::start().await;
    let client = server.client();
    let with = |field: &str, value: Value| {
        let mut body = registration("ani@toko.id");
        body[field] = value;
        body
    };
    for (field, value) in [
        ("admin_password", json!("12345")),
        ("admin_email", json!("not an address")),
        ("org_name", json!("  ")),
        ("org_nmae", json!("a typo")),
    ] {
        client.post("/api/auth/register", with(field, value)).await.names_fields(&[field]);
    }
    let mut sql = server.sql().await;
    let made: i64 = sqlx::query_scalar("SELECT count(*) FROM events WHERE stream_type = 'organization'")
        .fetch_one(&mut sql)
        .await
        .unwrap();
    assert_eq!(made, 0);
}

#[tokio::test]
async fn a_repeated_registration_gets_the_first_answer() {
    let server = Server::start().await;
    let client = server.client().with_header("idempotency-key", "registration-1");
    let first =
        client.post("/api/auth/register", registration("ani@toko.id")).await.expect(StatusCode::CREATED);
    let again = client.post("/api/auth/register", registration("ani@toko.id")).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.expect(StatusCode::CREATED), first);
    client
        .post("/api/auth/register", registration("budi@toko.id"))
        .await
        .problem(422, "idempotency_key_reused");
    let mut sql = server.sql().await;
    let made: i64 =
        sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = 'organization.registered'")
            .fetch_one(&mut sql)
            .await
            .unwrap();
    assert_eq!(made, 1);
}

/// As a crash between the platform's log and the tenant's leaves it: only the first event is there.
#[tokio::test]
async fn the_worker_finishes_an_interrupted_registration() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let url = server.database.owner_url.clone();
    let Server { process, database, env } = server;
    process.kill();
    let mut sql = <sqlx::PgConnection as sqlx::Connection>::connect(&url).await.unwrap();
    for statement in [
        "DELETE FROM events WHERE event_type = 'organization.activated' OR stream_type = 'agent'",
        "DELETE FROM claims WHERE scope <> 'slug' AND tenant_id <> '00000000-0000-0000-0000-000000000001'",
        "UPDATE read.documents SET doc = jsonb_set(doc, '{status}', '\"provisioning\"'), version = 1, created_at = created_at - interval '1 minute' WHERE collection = 'organization'",
        "DELETE FROM read.documents WHERE collection = 'agent'",
        "DELETE FROM read.activity",
        "UPDATE projections SET position = least(position, (SELECT coalesce(max(position), 0) FROM events e WHERE e.log_id = projections.log_id))",
    ] {
        sqlx::query(statement).execute(&mut sql).await.unwrap();
    }
    let process = tokio::task::spawn_blocking({
        let (url, env) = (url.clone(), env.clone());
        move || Process::start("serve", &url, &env)
    })
    .await
    .unwrap();
    eventually("the first admin exists", || async {
        let mut sql = <sqlx::PgConnection as sqlx::Connection>::connect(&url).await.unwrap();
        let agents: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM read.documents WHERE collection = 'agent' AND doc IS NOT NULL",
        )
        .fetch_one(&mut sql)
        .await
        .unwrap();
        (agents == 1).then_some(())
    })
    .await;
    let client = Client::new(&process.base);
    let signed_in = login(&client, &tenant.email, PASSWORD).await.expect(StatusCode::OK);
    client.with_token(token(&signed_in)).get("/api/agents").await.expect(StatusCode::OK);
    drop(database);
}

#[tokio::test]
async fn signing_out_ends_the_session_and_clears_the_cookie() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let other = login(&server.client(), &tenant.email, PASSWORD).await.expect(StatusCode::OK);
    let answer = tenant.admin.post("/api/auth/logout", json!({})).await;
    answer.expect(StatusCode::OK);
    assert_eq!(cookie(&answer), "access_token=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0");
    tenant.admin.get("/api/auth/me").await.problem(401, "unauthenticated");
    let elsewhere = server.client().with_token(token(&other));
    elsewhere.get("/api/auth/me").await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_fresh_token_belongs_to_the_same_session() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let fresh = tenant.admin.get("/api/auth/token").await.expect(StatusCode::OK);
    let fresh = server.client().with_token(token(&fresh));
    fresh.get("/api/auth/me").await.expect(StatusCode::OK);
    tenant.admin.post("/api/auth/logout", json!({})).await.expect(StatusCode::OK);
    fresh.get("/api/auth/me").await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_token_expires_after_an_hour_unless_it_is_refreshed() {
    let offset = std::env::temp_dir().join(format!("omnistream-clock-{}", uuid::Uuid::new_v4()));
    let server = Server::start_with(&[("OMNISTREAM_CLOCK_OFFSET_FILE", offset.to_str().unwrap())]).await;
    let tenant = server.tenant().await;
    std::fs::write(&offset, "3500").unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    let fresh = tenant.admin.get("/api/auth/token").await.expect(StatusCode::OK);
    let fresh = server.client().with_token(token(&fresh));
    std::fs::write(&offset, "3700").unwrap();
    eventually("the first token has expired", || async {
        (tenant.admin.get("/api/auth/me").await.status == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    fresh.get("/api/auth/me").await.expect(StatusCode::OK);
    std::fs::remove_file(&offset).unwrap();
}

#[tokio::test]
async fn what_proves_nothing_is_refused_alike() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let client = server.client();
    let wrong = login(&client, &tenant.email, "wrong password").await.problem(401, "unauthenticated");
    let unknown = login(&client, "nobody@example.com", PASSWORD).await.problem(401, "unauthenticated");
    assert_eq!(wrong["detail"], unknown["detail"]);
    client.get("/api/auth/me").await.problem(401, "unauthenticated");
    client.with_token("not.a.token").get("/api/auth/me").await.problem(401, "unauthenticated");
    client
        .post("/api/auth/login", json!({ "email": "a@b.id", "pasword": "x" }))
        .await
        .names_fields(&["pasword"]);
    let platform = server.super_admin().await;
    platform.get("/api/auth/me").await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn an_address_in_two_tenants_signs_in_where_the_password_fits() {
    let server = Server::start().await;
    let client = server.client();
    let mut registered = Vec::new();
    for password in ["first password", "second password"] {
        let body = json!({ "org_name": "Toko", "admin_email": "ani@toko.id", "admin_password": password });
        registered.push(client.post("/api/auth/register", body).await.expect(StatusCode::CREATED));
    }
    for (password, tenant) in ["first password", "second password"].iter().zip(&registered) {
        let signed_in = login(&client, "ani@toko.id", password).await.expect(StatusCode::OK);
        let me = client.with_token(token(tenant)).get("/api/auth/me").await.expect(StatusCode::OK);
        assert_eq!(signed_in["agent"]["id"], me["id"]);
    }
}

#[tokio::test]
async fn ten_failures_close_an_account_until_the_window_has_passed() {
    let offset = std::env::temp_dir().join(format!("omnistream-clock-{}", uuid::Uuid::new_v4()));
    let server = Server::start_with(&[("OMNISTREAM_CLOCK_OFFSET_FILE", offset.to_str().unwrap())]).await;
    let tenant = server.tenant().await;
    let client = server.client();
    for _ in 0..10 {
        login(&client, &tenant.email, "wrong password").await.problem(401, "unauthenticated");
    }
    let refused = login(&client, &tenant.email, PASSWORD).await;
    refused.problem(429, "rate_limited");
    let wait: u64 = refused.header("retry-after").expect("a wait").parse().unwrap();
    assert!((850..=900).contains(&wait), "{wait}");
    tenant.admin.get("/api/auth/me").await.expect(StatusCode::OK);
    std::fs::write(&offset, "900").unwrap();
    eventually("the account is open again", || async {
        (login(&client, &tenant.email, PASSWORD).await.status == StatusCode::OK).then_some(())
    })
    .await;
    std::fs::remove_file(&offset).unwrap();
}

#[tokio::test]
async fn a_success_resets_the_accounts_failures_but_not_the_addresss() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let client = server.client();
    for _ in 0..3 {
        for _ in 0..9 {
            login(&client, &tenant.email, "wrong password").await.problem(401, "unauthenticated");
        }
        login(&client, &tenant.email, PASSWORD).await.expect(StatusCode::OK);
    }
    for n in 0..3 {
        login(&client, &format!("nobody{n}@example.com"), PASSWORD).await.problem(401, "unauthenticated");
    }
    login(&client, &tenant.email, PASSWORD).await.problem(429, "rate_limited");
}

/// However many guesses run at once, no more than the limit of them learn anything.
#[tokio::test]
async fn guesses_at_once_do_not_pass_the_limit() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let client = server.client();
    let guesses = (0..25).map(|_| login(&client, &tenant.email, "wrong password"));
    let answers = futures::future::join_all(guesses).await;
    let told = answers.iter().filter(|answer| answer.status == StatusCode::UNAUTHORIZED).count();
    let refused = answers.iter().filter(|answer| answer.status == StatusCode::TOO_MANY_REQUESTS).count();
    assert_eq!((told, refused), (10, 15));
}

#[tokio::test]
async fn many_can_sign_in_from_one_address_at_once() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let client = server.client();
    let answers = futures::future::join_all((0..40).map(|_| login(&client, &tenant.email, PASSWORD))).await;
    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK));
}

#[tokio::test]
async fn a_suspended_organization_lets_nobody_in() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let platform = server.super_admin().await;
    platform.delete(&format!("/api/super-admin/tenants/{}", tenant.id)).await.expect(StatusCode::OK);
    tenant.admin.get("/api/auth/me").await.problem(401, "unauthenticated");
    login(&server.client(), &tenant.email, PASSWORD).await.problem(403, "suspended");
}

#[tokio::test]
async fn a_secure_site_gets_a_secure_cookie() {
    let server = Server::start_with(&[("OMNISTREAM_PUBLIC_URL", "https://crm.example.com")]).await;
    let body = registration("ani@toko.id");
    let answer = server.client().send(Method::POST, "/api/auth/register", Some(body)).await;
    answer.expect(StatusCode::CREATED);
    assert!(cookie(&answer).ends_with("; Secure"), "{}", cookie(&answer));
}
