//! What handlers answer: each output renders itself and describes itself to the API document.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::input::JSON;
use super::openapi::Operation;
use super::problem::{Answer, Problem};

/// How often a live stream shows that it is still there: well under the idle limit of common proxies (60 s).
const STREAM_HEARTBEAT: Duration = Duration::from_secs(15);

/// Something that a handler answers.
pub trait Output: Send {
    /// # Errors
    /// 500 if it cannot be rendered.
    fn render(self) -> Answer<Response>;

    fn describe(operation: &mut Operation<'_>);
}

fn json_response<T: Serialize>(status: StatusCode, value: &T) -> Answer<Response> {
    let body = serde_json::to_vec(value).map_err(Problem::internal)?;
    Ok((status, [(header::CONTENT_TYPE, JSON)], body).into_response())
}

fn describe_json<T: ToSchema>(operation: &mut Operation<'_>, status: StatusCode) {
    let schema = operation.schemas.reference::<T>();
    operation.answer(status, JSON, schema);
}

macro_rules! json_outputs {
    ($($(#[$doc:meta])* $name:ident $status:ident)*) => {$(
        $(#[$doc])*
        pub struct $name<T>(pub T);

        impl<T: Serialize + ToSchema + Send> Output for $name<T> {
            fn render(self) -> Answer<Response> {
                json_response(StatusCode::$status, &self.0)
            }

            fn describe(operation: &mut Operation<'_>) {
                describe_json::<T>(operation, StatusCode::$status);
            }
        }
    )*};
}

json_outputs! {
    /// 200 with JSON.
    Json OK
    /// 201 with JSON.
    Created CREATED
    /// 202 with JSON: the work goes on.
    Accepted ACCEPTED
}

/// 200 with a JSON list. Unlike `Json<Vec<T>>` it names the item's schema in the document.
pub struct List<T>(pub Vec<T>);

impl<T: Serialize + ToSchema + Send> Output for List<T> {
    fn render(self) -> Answer<Response> {
        json_response(StatusCode::OK, &self.0)
    }

    fn describe(operation: &mut Operation<'_>) {
        let items = operation.schemas.reference::<T>();
        operation.answer(StatusCode::OK, JSON, json!({"type": "array", "items": items}));
    }
}

/// 200 with JSON and the resource's version as its `ETag`, which `If-Match` takes.
pub struct Versioned<T> {
    /// The stream version.
    pub version: i64,
    pub value: T,
}

impl<T: Serialize + ToSchema + Send> Output for Versioned<T> {
    fn render(self) -> Answer<Response> {
        let mut response = json_response(StatusCode::OK, &self.value)?;
        response.headers_mut().insert(header::ETAG, etag(self.version));
        Ok(response)
    }

    fn describe(operation: &mut Operation<'_>) {
        describe_json::<T>(operation, StatusCode::OK);
        operation.answer_header(StatusCode::OK, "ETag", "The resource's version, for If-Match.");
    }
}

/// The entity tag of a stream version.
#[must_use]
#[expect(clippy::expect_used, reason = "a quoted number is a valid header")]
pub fn etag(version: i64) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).expect("a quoted number")
}

/// 200 with plain text.
pub struct Text(pub String);

impl Output for Text {
    fn render(self) -> Answer<Response> {
        Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], self.0).into_response())
    }

    fn describe(operation: &mut Operation<'_>) {
        operation.answer(StatusCode::OK, "text/plain", json!({"type": "string"}));
    }
}

/// 200 with a table for download, sent while it is read.
pub struct Csv {
    file_name: String,
    rows: Body,
}

impl Csv {
    pub fn new<S, E>(file_name: impl Into<String>, rows: S) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        Self { file_name: file_name.into(), rows: Body::from_stream(rows) }
    }
}

impl Output for Csv {
    fn render(self) -> Answer<Response> {
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8")),
            (header::CONTENT_DISPOSITION, attachment(&self.file_name)),
        ];
        Ok((headers, self.rows).into_response())
    }

    fn describe(operation: &mut Operation<'_>) {
        operation.answer(StatusCode::OK, "text/csv", json!({"type": "string"}));
    }
}

/// 200 with a file of any type; see `Route::answers` for documenting which.
pub struct File {
    /// Media type.
    pub content_type: String,
    /// Set: offered for saving under this name. Not set: shown in place.
    pub download_as: Option<String>,
    pub body: Body,
}

impl Output for File {
    fn render(self) -> Answer<Response> {
        let content_type = HeaderValue::try_from(self.content_type).map_err(Problem::internal)?;
        let mut response = ([(header::CONTENT_TYPE, content_type)], self.body).into_response();
        if let Some(name) = self.download_as {
            response.headers_mut().insert(header::CONTENT_DISPOSITION, attachment(&name));
        }
        Ok(response)
    }

    fn describe(operation: &mut Operation<'_>) {
        operation.answer(StatusCode::OK, "application/octet-stream", json!({"type": "string"}));
    }
}

/// The name in the extended form of RFC 8187, which can hold any character.
fn attachment(file_name: &str) -> HeaderValue {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let encode = |byte: u8| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    let encoded: String = file_name.bytes().map(encode).collect();
    HeaderValue::try_from(format!("attachment; filename*=UTF-8''{encoded}"))
        .unwrap_or(HeaderValue::from_static("attachment"))
}

/// 200 with server-sent events until either side hangs up.
pub struct EventStream<S>(pub S);

impl<S, E> Output for EventStream<S>
where
    S: Stream<Item = Result<Event, E>> + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn render(self) -> Answer<Response> {
        let live = Sse::new(self.0).keep_alive(KeepAlive::new().interval(STREAM_HEARTBEAT));
        // Proxies that buffer would hold events back.
        Ok(([(HeaderName::from_static("x-accel-buffering"), "no")], live).into_response())
    }

    fn describe(operation: &mut Operation<'_>) {
        operation.answer(StatusCode::OK, "text/event-stream", json!({"type": "string"}));
    }
}

/// Anything else; its row says with `Route::answers` what it is.
impl Output for Response {
    fn render(self) -> Answer<Response> {
        Ok(self)
    }

    fn describe(_: &mut Operation<'_>) {}
}
