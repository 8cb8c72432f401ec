//! What the platform's own administrators do: tenants, their users, the accounts of the platform itself, and whether
//! all is well.
//!
//! They belong to no tenant, so nothing here reads on behalf of one by itself: every read names its tenant.

mod admins;
mod health;
mod impersonation;
mod sign_in;
mod tenants;
mod usage;
mod users;

use crate::App;
use crate::http::{Access, Group, delete, get, group, patch, post};

pub fn routes() -> Group<App> {
    group("Super Admin", [
        post("/api/super-admin/login", "Super-admin login", Access::Public, sign_in::login)
            .describe("only failures count: 10 per account and 30 per address in 15 minutes, then 429"),
        get("/api/super-admin/tenants", "List all tenant organizations", Access::Super, tenants::list)
            .describe("oldest first; at most 10,000, then X-Total-Capped says so"),
        post("/api/super-admin/tenants", "Provision a new tenant", Access::Super, tenants::create)
            .describe("slug unique; its admin can sign in at once"),
        get("/api/super-admin/tenants/{id}", "Get a tenant organization", Access::Super, tenants::get_one),
        delete("/api/super-admin/tenants/{id}", "Suspend a tenant organization", Access::Super, tenants::suspend)
            .describe(
                "its tokens and keys stop working at once, and it is not charged until it is back; nothing is deleted, and \
                 PATCH status active undoes it",
            ),
        patch("/api/super-admin/tenants/{id}", "Update a tenant organization", Access::Super, tenants::update)
            .describe("limits are replaced as a whole; 409 while the tenant is being provisioned"),
        post("/api/super-admin/tenants/{id}/impersonate", "Impersonate a tenant admin", Access::Super, impersonation::tenant_admin)
            .describe(
                "the first admin who is active, for 30 minutes; every event carries the impersonator; 409 if the tenant \
                 is suspended or has no active admin",
            ),
        get("/api/super-admin/usage", "List all tenants with usage statistics", Access::Super, usage::list)
            .describe("oldest first; at most 10,000, then X-Total-Capped says so"),
        get("/api/super-admin/health", "System health check", Access::Super, health::check)
            .describe("200 also when something is wrong; the status is that of the worst component"),
        get("/api/super-admin/admins", "List super-admin accounts", Access::Super, admins::list),
        post("/api/super-admin/admins", "Create a super-admin account", Access::Super, admins::create),
        delete("/api/super-admin/admins/{id}", "Delete a super-admin account", Access::Super, admins::remove)
            .describe("409 for one's own account, so that the last one can't be deleted"),
        post("/api/super-admin/admins/{id}/reset-password", "Reset a super-admin's password", Access::Super, admins::reset_password)
            .describe("ends all sessions of the account, the caller's own as well"),
        get("/api/super-admin/tenants/{id}/users", "List tenant users", Access::Super, users::list),
        post(
            "/api/super-admin/tenants/{id}/users/{user_id}/reset-password",
            "Reset a tenant user's password",
            Access::Super,
            users::reset_password,
        )
        .describe("signs the user out"),
        post("/api/super-admin/tenants/{id}/users/{user_id}/suspend", "Suspend a tenant user", Access::Super, users::suspend)
            .describe("signs the user out and stops its API keys at once; 409 `last_admin` for a tenant's only active admin"),
        post("/api/super-admin/tenants/{id}/users/{user_id}/activate", "Activate a tenant user", Access::Super, users::activate),
        post(
            "/api/super-admin/tenants/{id}/users/{user_id}/impersonate",
            "Impersonate a tenant user",
            Access::Super,
            impersonation::user,
        )
        .describe("for 30 minutes; every event carries the impersonator; 409 if the tenant or the user is suspended"),
    ])
}
