//! The HTTP API: one file per resource, each a group of the route table, over commands and read models.

pub mod app;
pub mod command;
pub mod http;
pub mod operations;
pub mod query;
pub mod resource;
mod roles;
pub mod token;

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
    vec![operations::health(), operations::routes(), roles::routes()]
}
