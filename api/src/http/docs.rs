//! The API reference for people: Swagger UI at `/docs`, from assets inside the program.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, Path};
use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use utoipa_swagger_ui::Config;

use super::observe::RequestId;
use super::problem::Problem;

const DOCS: &str = "/docs";
pub const DOCUMENT: &str = "/openapi.json";

/// Everything from here and nothing from elsewhere. Swagger UI sets styles on its elements and shows inline icons.
pub(super) const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'none'";

pub(super) fn is_page(path: &str) -> bool {
    path.strip_prefix(DOCS).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(super) fn router() -> Router {
    let config = Arc::new(Config::from(DOCUMENT));
    let file = move |id: Extension<RequestId>, name: Option<Path<String>>| {
        let config = Arc::clone(&config);
        async move { asset(name.map_or_else(String::new, |Path(name)| name).as_str(), config, id.0.0) }
    };
    Router::new()
        .route(DOCS, get(|| async { Redirect::permanent("/docs/") }))
        .route("/docs/", get(file.clone()))
        .route("/docs/{*file}", get(file))
}

fn asset(name: &str, config: Arc<Config<'static>>, request_id: uuid::Uuid) -> Response {
    match utoipa_swagger_ui::serve(name, config) {
        Ok(Some(file)) => {
            let mut response =
                ([(header::CONTENT_TYPE, file.content_type)], file.bytes.into_owned()).into_response();
            if file.gzpipped {
                let gzip = axum::http::HeaderValue::from_static("gzip");
                response.headers_mut().insert(header::CONTENT_ENCODING, gzip);
            }
            response
        }
        Ok(None) => Problem::not_found("page").respond(request_id),
        Err(error) => Problem::internal(error).respond(request_id),
    }
}
