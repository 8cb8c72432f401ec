//! The platform's own administrators: tenants, their users, and each other.

mod admins;
mod impersonation;
mod platform;
mod sign_in;
mod tenants;
mod users;

use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Client, PASSWORD, id_of};

/// A tenant that the platform made, with its admin's address.
async fn provision(platform: &Client) -> (Uuid, String) {
    let unique = Uuid::new_v4();
    let email = format!("owner-{unique}@example.com");
    let tenant = json!({
        "name": "Toko Baru", "slug": format!("toko-{unique}"), "admin_email": email, "admin_password": PASSWORD,
    });
    (id_of(&platform.post("/api/super-admin/tenants", tenant).await.expect(StatusCode::CREATED)), email)
}

/// A new super-admin, signed in, with its id and address.
async fn colleague(platform: &Client) -> (Client, Uuid, String) {
    let email = format!("ops-{}@example.com", Uuid::new_v4());
    let account = json!({ "email": email, "password": PASSWORD, "full_name": "Operator" });
    let created = platform.post("/api/super-admin/admins", account).await.expect(StatusCode::CREATED);
    (super_login(platform, &email, PASSWORD).await, id_of(&created), email)
}

async fn super_login(anyone: &Client, email: &str, password: &str) -> Client {
    signed_in(anyone, "/api/super-admin/login", email, password).await
}

async fn login(anyone: &Client, email: &str, password: &str) -> Client {
    signed_in(anyone, "/api/auth/login", email, password).await
}

async fn signed_in(anyone: &Client, path: &str, email: &str, password: &str) -> Client {
    let answer = anyone.anonymous().post(path, credentials(email, password)).await.expect(StatusCode::OK);
    with_token_of(anyone, &answer)
}

fn credentials(email: &str, password: &str) -> Value {
    json!({ "email": email, "password": password })
}

fn with_token_of(anyone: &Client, answer: &Value) -> Client {
    anyone.with_token(answer["token"].as_str().expect("a token"))
}

/// The id of whoever is signed in to a tenant.
async fn me(client: &Client) -> Uuid {
    id_of(&client.get("/api/auth/me").await.expect(StatusCode::OK))
}
