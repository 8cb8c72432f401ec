//! The HTTP API: one file per resource, each a group of the route table, over commands and read models.

mod activity_logs;
mod agents;
mod api_keys;
pub mod app;
mod auth;
mod automation;
mod billing;
mod chat_expiration_rules;
pub mod command;
mod contacts;
mod conversations;
mod csat;
mod divisions;
pub mod events;
pub mod http;
mod integration_accounts;
pub mod invoice_pdf;
mod live_stream;
mod messages;
mod meta;
pub mod operations;
mod outgoing_webhooks;
pub mod payment_webhooks;
mod projections;
pub mod query;
pub mod resource;
mod roles;
mod sla;
mod sla_policies;
mod super_admin;
pub mod token;
pub mod totals;
mod transfers;
mod wa_templates;
mod webhook;
mod working_hours;

use http::{Api, FaultyTable, Group};

pub use app::App;

/// The context of a request, with the application in it.
pub type Ctx = http::Ctx<App>;

/// The whole API, ready to be served.
///
/// # Errors
/// When the route table contradicts itself.
pub fn build(app: App) -> Result<Api<App>, FaultyTable> {
    Api::new("OmniStream CRM API", env!("CARGO_PKG_VERSION"), app, groups())
}

/// The route table.
#[must_use]
pub fn groups() -> Vec<Group<App>> {
    vec![
        operations::health(),
        operations::routes(),
        events::routes(),
        live_stream::routes(),
        projections::routes(),
        activity_logs::routes(),
        auth::routes(),
        agents::routes(),
        api_keys::routes(),
        roles::routes(),
        divisions::routes(),
        csat::routes(),
        transfers::routes(),
        working_hours::routes(),
        chat_expiration_rules::routes(),
        sla::routes(),
        automation::routes(),
        billing::routes(),
        billing::admin_routes(),
        integration_accounts::routes(),
        wa_templates::routes(),
        outgoing_webhooks::routes(),
        webhook::routes(),
        payment_webhooks::routes(),
        super_admin::routes(),
        contacts::routes(),
        conversations::routes(),
        messages::routes(),
    ]
}
