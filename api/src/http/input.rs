//! What handlers take: each input reads itself from the request and describes itself to the API document, so that a
//! request type is named once, in the handler's signature.

use std::any::TypeId;
use std::sync::Arc;

use axum::body::{Body as HttpBody, Bytes};
use axum::extract::{FromRequest, Multipart, RawPathParams};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request, header};
use garde::Validate;
use serde::Serialize;
use serde::de::value::{Error as TextError, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde_json::{Value, json};
use utoipa::openapi::path::ParameterIn;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::json;
use super::limits::LAST_PAGE;
use super::openapi::Operation;
use super::problem::{Answer, FieldError, Problem};

pub const JSON: &str = "application/json";
pub const MULTIPART: &str = "multipart/form-data";

/// A request that was let in, with its body in memory.
pub struct Incoming {
    pub head: Parts,
    pub body: Bytes,
    /// Percent-decoded, in the order of the route's pattern.
    pub(super) path: Vec<String>,
    /// Percent-decoded.
    pub(super) query: Vec<(String, String)>,
    /// Which input the route's query parameters belong to.
    pub(super) declared: Arc<[QueryParameter]>,
}

/// One documented query parameter and the input that reads it.
pub(super) struct QueryParameter {
    pub name: String,
    pub owner: TypeId,
}

/// Something that a handler takes.
pub trait Input: Sized + Send + 'static {
    /// # Errors
    /// A problem that names what is wrong with the request.
    fn take(request: &Incoming) -> impl Future<Output = Answer<Self>> + Send;

    fn describe(operation: &mut Operation<'_>);
}

impl Incoming {
    /// The parameters of the query that belong to `T`.
    fn query_of<T: 'static>(&self) -> impl Iterator<Item = (&str, &str)> {
        let owner = TypeId::of::<T>();
        let mine = move |name: &str| self.declared.iter().any(|p| p.owner == owner && p.name == name);
        self.query
            .iter()
            .filter(move |(name, _)| mine(name))
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// # Errors
    /// 415 unless the body says that it is of this media type (or, for JSON, of one built on it).
    fn expect_media_type(&self, expected: &str) -> Answer<()> {
        let sent = self.head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence =
            sent.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if essence == expected || (expected == JSON && essence.ends_with("+json")) {
            return Ok(());
        }
        Err(Problem::unsupported_media_type(expected))
    }
}

/// Percent-decoded path parameters.
///
/// # Errors
/// 400 for bytes that are not UTF-8 once decoded, 404 for a NUL: nothing is called that.
pub(super) fn path_values(params: &RawPathParams) -> Answer<Vec<String>> {
    let values: Vec<String> = params.iter().map(|(_, value)| value.to_owned()).collect();
    if values.iter().any(|value| value.contains('\0')) {
        return Err(Problem::not_found("resource"));
    }
    Ok(values)
}

/// Percent-decoded query parameters.
///
/// # Errors
/// 400 for broken percent-encoding, 422 naming a parameter that holds a NUL.
pub(super) fn query_values(query: &str) -> Answer<Vec<(String, String)>> {
    if !is_well_encoded(query) {
        return Err(Problem::malformed("The query is not properly percent-encoded UTF-8."));
    }
    let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let holds_nul = pairs.iter().find(|(name, value)| name.contains('\0') || value.contains('\0'));
    match holds_nul {
        Some((name, _)) => Err(Problem::invalid_fields(vec![json::nul_error(name.replace('\0', "\\u0000"))])),
        None => Ok(pairs),
    }
}

/// The parser itself is lenient: it keeps a lone `%` and replaces what is no UTF-8.
fn is_well_encoded(query: &str) -> bool {
    let mut decoded = Vec::with_capacity(query.len());
    let mut bytes = query.bytes();
    while let Some(byte) = bytes.next() {
        let digit = |b: Option<u8>| char::from(b?).to_digit(16);
        match byte {
            b'%' => match (digit(bytes.next()), digit(bytes.next())) {
                (Some(high), Some(low)) => decoded.push((high * 16 + low) as u8),
                _ => return false,
            },
            _ => decoded.push(byte),
        }
    }
    std::str::from_utf8(&decoded).is_ok()
}

/// A value that can stand in a path. Any string-like serde type can: `impl PathParam for Channel {…}`.
pub trait PathParam: DeserializeOwned + Send + 'static {
    /// JSON schema of the parameter.
    fn schema() -> Value;

    fn parse(text: &str) -> Option<Self> {
        let text: StrDeserializer<'_, TextError> = text.into_deserializer();
        Self::deserialize(text).ok()
    }
}

impl PathParam for Uuid {
    fn schema() -> Value {
        json!({"type": "string", "format": "uuid"})
    }
}

impl PathParam for String {
    fn schema() -> Value {
        json!({"type": "string"})
    }
}

impl PathParam for i64 {
    fn schema() -> Value {
        json!({"type": "integer", "format": "int64"})
    }

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// The parameters of the path, in the order of the pattern: `Path<Uuid>`, `Path<(Uuid, Uuid)>`. What does not parse
/// names nothing that exists, and is 404.
pub struct Path<T>(pub T);

macro_rules! path_input {
    ($self_type:ty, [$($param:ident $index:literal),+], $build:expr) => {
        impl<$($param: PathParam),+> Input for Path<$self_type> {
            async fn take(request: &Incoming) -> Answer<Self> {
                let parsed = || Some(($($param::parse(request.path.get($index)?)?,)+));
                parsed().map($build).map(Self).ok_or_else(|| Problem::not_found("resource"))
            }

            fn describe(operation: &mut Operation<'_>) {
                operation.path_parameters(&[$($param::schema()),+]);
            }
        }
    };
}

path_input!(A, [A 0], |(a,)| a);
path_input!((A, B), [A 0, B 1], |both| both);
path_input!((A, B, C), [A 0, B 1, C 2], |all| all);

/// The parameters of the query that `T` names. A parameter that no input of the route names is refused.
pub struct Query<T>(pub T);

impl<T> Input for Query<T>
where
    T: DeserializeOwned + IntoParams + Validate<Context = ()> + Send + 'static,
{
    async fn take(request: &Incoming) -> Answer<Self> {
        let mine =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(request.query_of::<Self>()).finish();
        let deserializer = serde_urlencoded::Deserializer::new(form_urlencoded::parse(mine.as_bytes()));
        let query: T = serde_path_to_error::deserialize(deserializer).map_err(|error| {
            let path = error.path().to_string();
            Problem::invalid_fields(vec![json::field_error(&path, &error.into_inner().to_string(), "query")])
        })?;
        query.validate()?;
        Ok(Self(query))
    }

    fn describe(operation: &mut Operation<'_>) {
        for parameter in T::into_params(|| Some(ParameterIn::Query)) {
            operation.query_parameter::<Self>(serde_json::to_value(parameter).unwrap_or_default());
        }
    }
}

/// A JSON body. Its type denies unknown fields, so that a typo is not silently dropped.
pub struct Body<T>(pub T);

impl<T> Input for Body<T>
where
    T: DeserializeOwned + ToSchema + Validate<Context = ()> + Send + 'static,
{
    async fn take(request: &Incoming) -> Answer<Self> {
        match OptionalBody::take(request).await? {
            OptionalBody(Some(body)) => Ok(Self(body)),
            OptionalBody(None) => Err(Problem::malformed("A JSON body is required.")),
        }
    }

    fn describe(operation: &mut Operation<'_>) {
        let schema = operation.schemas.reference::<T>();
        operation.request_body(JSON, schema, true);
    }
}

/// A JSON body that may be left out.
pub struct OptionalBody<T>(pub Option<T>);

impl<T> Input for OptionalBody<T>
where
    T: DeserializeOwned + ToSchema + Validate<Context = ()> + Send + 'static,
{
    async fn take(request: &Incoming) -> Answer<Self> {
        if request.body.is_empty() {
            return Ok(Self(None));
        }
        request.expect_media_type(JSON)?;
        refuse_list::<T>(&request.body)?;
        let body: T = json::parse(&request.body)?;
        body.validate()?;
        Ok(Self(Some(body)))
    }

    fn describe(operation: &mut Operation<'_>) {
        let schema = operation.schemas.reference::<T>();
        operation.request_body(JSON, schema, false);
    }
}

/// serde would read a struct from a list of its values as well, and fields without names cannot be checked.
fn refuse_list<T: ToSchema>(body: &[u8]) -> Answer<()> {
    if body.trim_ascii_start().first() != Some(&b'[') {
        return Ok(());
    }
    match T::schema() {
        RefOr::T(Schema::Array(_)) => Ok(()),
        _ => Err(Problem::invalid(json::WHOLE_BODY, "must be an object, not a list")),
    }
}

/// The bytes as they came, for signatures and formats of their own; see `Route::reads` for documenting them.
pub struct RawBody(pub Bytes);

impl Input for RawBody {
    async fn take(request: &Incoming) -> Answer<Self> {
        Ok(Self(request.body.clone()))
    }

    fn describe(operation: &mut Operation<'_>) {
        operation.request_body("application/octet-stream", json!({}), true);
    }
}

/// One uploaded file: the part `file` of a `multipart/form-data` body.
pub struct Upload {
    /// As the client says; not to be trusted as a path.
    pub file_name: Option<String>,
    /// As the client says; not to be trusted either.
    pub content_type: Option<String>,
    pub bytes: Bytes,
}

impl Input for Upload {
    async fn take(request: &Incoming) -> Answer<Self> {
        request.expect_media_type(MULTIPART)?;
        let unreadable =
            |error: &dyn std::fmt::Display| Problem::malformed(format!("The form is not readable: {error}."));
        let whole = Request::from_parts(request.head.clone(), HttpBody::from(request.body.clone()));
        let mut form = Multipart::from_request(whole, &()).await.map_err(|e| unreadable(&e.body_text()))?;
        let mut file = None;
        while let Some(part) = form.next_field().await.map_err(|e| unreadable(&e.body_text()))? {
            match part.name() {
                Some("file") if file.is_none() => {
                    let file_name = part.file_name().map(str::to_owned);
                    let content_type = part.content_type().map(str::to_owned);
                    let bytes = part.bytes().await.map_err(|e| unreadable(&e.body_text()))?;
                    file = Some(Self { file_name, content_type, bytes });
                }
                Some("file") => return Err(Problem::invalid("file", "is given twice")),
                name => return Err(Problem::invalid(name.unwrap_or_default(), "is not a known field")),
            }
        }
        file.ok_or_else(|| Problem::invalid("file", "is required"))
    }

    fn describe(operation: &mut Operation<'_>) {
        let file = json!({"type": "string", "format": "binary"});
        let form = json!({"type": "object", "required": ["file"], "properties": {"file": file}});
        operation.request_body(MULTIPART, form, true);
    }
}

/// All headers of the request, for the few that a route has to itself.
pub struct Headers(pub HeaderMap);

impl Input for Headers {
    async fn take(request: &Incoming) -> Answer<Self> {
        Ok(Self(request.head.headers.clone()))
    }

    fn describe(_: &mut Operation<'_>) {}
}

/// Which page of a list: the query parameters `page` (from 1) and `per_page` (1 to `MAX`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging<const DEFAULT: i64 = 20, const MAX: i64 = 100> {
    pub page: i64,
    pub per_page: i64,
}

impl<const DEFAULT: i64, const MAX: i64> Paging<DEFAULT, MAX> {
    #[must_use]
    pub const fn limit(&self) -> i64 {
        self.per_page
    }

    /// Rows before the page.
    #[must_use]
    pub const fn offset(&self) -> i64 {
        (self.page - 1) * self.per_page
    }

    /// The numbers that go around a page of a list of `total` rows.
    #[must_use]
    pub const fn numbers(&self, total: i64) -> PageNumbers {
        let total_pages = (total + self.per_page - 1) / self.per_page;
        PageNumbers { total, page: self.page, per_page: self.per_page, total_pages }
    }
}

impl<const DEFAULT: i64, const MAX: i64> Input for Paging<DEFAULT, MAX> {
    async fn take(request: &Incoming) -> Answer<Self> {
        let mut paging = Self { page: 1, per_page: DEFAULT };
        let mut errors = Vec::new();
        for (name, value) in request.query_of::<Self>() {
            let (field, highest) = match name {
                "page" => (&mut paging.page, LAST_PAGE),
                _ => (&mut paging.per_page, MAX),
            };
            match value.parse() {
                Ok(number) if (1..=highest).contains(&number) => *field = number,
                _ => {
                    errors.push(FieldError::new(name, format!("must be a whole number from 1 to {highest}")))
                }
            }
        }
        if errors.is_empty() { Ok(paging) } else { Err(Problem::invalid_fields(errors)) }
    }

    fn describe(operation: &mut Operation<'_>) {
        for (name, default, highest) in [("page", 1, LAST_PAGE), ("per_page", DEFAULT, MAX)] {
            operation.query_parameter::<Self>(json!({
                "name": name, "in": "query", "required": false,
                "schema": {
                    "type": "integer", "format": "int64", "minimum": 1, "maximum": highest, "default": default,
                },
            }));
        }
    }
}

/// Flattened into the envelope of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct PageNumbers {
    /// Rows in all pages; exact up to 10,000, see `X-Total-Capped`.
    pub total: i64,
    pub page: i64,
    pub per_page: i64,
    pub total_pages: i64,
}
