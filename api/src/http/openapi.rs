//! The API document: a fold of the route table into OpenAPI 3.1.

use std::any::TypeId;
use std::collections::{BTreeMap, BTreeSet};

use axum::body::Bytes;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::Host;
use super::access::Access;
use super::context::{Ctx, SESSION_COOKIE};
use super::input::{JSON, QueryParameter};
use super::output::Output;
use super::problem::{Answer, PROBLEM_JSON, ProblemBody};
use super::route::{Group, Route};

const SCHEMAS: &str = "#/components/schemas/";

/// The schemas that have a name, each stated once.
#[derive(Default)]
pub struct Schemas {
    named: BTreeMap<String, Value>,
    clashing: BTreeSet<String>,
}

impl Schemas {
    /// A reference to the schema of `T`, or the schema itself if it is a mere list, map, number or the like.
    pub fn reference<T: ToSchema>(&mut self) -> Value {
        let mut nested = Vec::new();
        T::schemas(&mut nested);
        for (name, schema) in nested {
            self.name(&name, serde_json::to_value(schema).unwrap_or_default());
        }
        let schema = serde_json::to_value(T::schema()).unwrap_or_default();
        if !deserves_name(&schema) {
            return schema;
        }
        let name = T::name();
        self.name(&name, schema);
        json!({"$ref": format!("{SCHEMAS}{name}")})
    }

    fn name(&mut self, name: &str, schema: Value) {
        match self.named.get(name) {
            Some(other) if *other != schema => {
                self.clashing.insert(name.to_owned());
            }
            Some(_) => {}
            None => {
                self.named.insert(name.to_owned(), schema);
            }
        }
    }
}

/// Structs and enums do; what the standard library is made of has names that mean nothing here.
fn deserves_name(schema: &Value) -> bool {
    let alternatives = schema["oneOf"].as_array();
    let is_nullable = alternatives.is_some_and(|all| all.iter().any(|one| one["type"] == "null"));
    ["properties", "enum", "allOf", "oneOf"].iter().any(|key| schema.get(key).is_some()) && !is_nullable
}

/// One operation while its route describes it.
pub struct Operation<'a> {
    pub schemas: &'a mut Schemas,
    path_names: Vec<&'static str>,
    parameters: Vec<Value>,
    query: Vec<QueryParameter>,
    body: Option<Value>,
    responses: Map<String, Value>,
    faults: Vec<String>,
}

impl<'a> Operation<'a> {
    fn of<H>(route: &Route<H>, schemas: &'a mut Schemas) -> Self {
        let mut operation = Self {
            schemas,
            path_names: path_names(route.path),
            parameters: Vec::new(),
            query: Vec::new(),
            body: None,
            responses: Map::new(),
            faults: Vec::new(),
        };
        for describe in &route.describe {
            describe(&mut operation);
        }
        operation
    }

    /// Schemas in the order of the pattern, which has the names.
    pub fn path_parameters(&mut self, schemas: &[Value]) {
        if schemas.len() != self.path_names.len() {
            self.faults
                .push("the handler takes another number of path parameters than the path has".to_owned());
        }
        for (name, schema) in self.path_names.iter().zip(schemas) {
            self.parameters.push(json!({"name": name, "in": "path", "required": true, "schema": schema}));
        }
    }

    /// A parameter object that the input `I` reads.
    pub fn query_parameter<I: 'static>(&mut self, mut parameter: Value) {
        let name = parameter["name"].as_str().unwrap_or_default().to_owned();
        if self.query.iter().any(|other| other.name == name) {
            self.faults.push(format!("two inputs read the query parameter {name}"));
        }
        strip_null(&mut parameter["schema"]);
        self.query.push(QueryParameter { name, owner: TypeId::of::<I>() });
        self.parameters.push(parameter);
    }

    pub fn request_body(&mut self, content_type: &str, schema: Value, required: bool) {
        self.body = Some(json!({"required": required, "content": {content_type: {"schema": schema}}}));
    }

    pub fn answer(&mut self, status: StatusCode, content_type: &str, schema: Value) {
        let answer = json!({"description": "Success", "content": {content_type: {"schema": schema}}});
        self.responses.insert(status.as_str().to_owned(), answer);
    }

    /// Adds a header to an answer that was described before.
    pub fn answer_header(&mut self, status: StatusCode, name: &str, description: &str) {
        if let Some(answer) = self.responses.get_mut(status.as_str()) {
            answer["headers"][name] = json!({"description": description, "schema": {"type": "string"}});
        }
    }

    fn finish<H>(mut self, tag: &str, route: &Route<H>) -> (Value, Vec<QueryParameter>, Vec<String>) {
        if self.responses.is_empty() {
            self.faults.push("what it answers is not documented".to_owned());
        }
        if !self.path_names.is_empty() && self.parameters.iter().all(|parameter| parameter["in"] != "path") {
            self.faults.push("the handler does not take the path's parameters".to_owned());
        }
        self.parameters.extend(conditional_parameters(&route.method));
        self.responses.insert("default".to_owned(), json!({"$ref": "#/components/responses/Problem"}));
        let mut operation = json!({
            "tags": [tag],
            "summary": route.summary,
            "operationId": operation_id(route),
            "x-auth": route.access.notation(),
            "responses": self.responses,
        });
        if let Access::Supervisor(permission) = route.access {
            operation["x-permission"] = json!(permission.code());
        }
        let security = match route.access {
            Access::Public | Access::Signature => Some(json!([])),
            Access::Super => Some(json!([{"superAdmin": []}])),
            Access::Any | Access::Permission(_) | Access::Supervisor(_) | Access::Admin => None,
        };
        let parameters = (!self.parameters.is_empty()).then(|| Value::from(self.parameters));
        let optional = [
            ("description", route.description.map(Value::from)),
            ("security", security),
            ("parameters", parameters),
            ("requestBody", self.body),
        ];
        for (key, value) in optional.into_iter().filter_map(|(key, value)| Some((key, value?))) {
            operation[key] = value;
        }
        (operation, self.query, self.faults)
    }
}

/// An optional parameter is left out; there is no way to write null in a query.
fn strip_null(schema: &mut Value) {
    if let Some(types) = schema.get_mut("type").and_then(Value::as_array_mut) {
        types.retain(|one| one != "null");
        if let [only] = types.as_slice() {
            schema["type"] = only.clone();
        }
    }
    if let Some(alternatives) = schema.get_mut("oneOf").and_then(Value::as_array_mut) {
        alternatives.retain(|one| one["type"] != "null");
        if let [only] = alternatives.as_slice() {
            *schema = only.clone();
        }
    }
}

/// The header parameters that every route of a method heeds.
fn conditional_parameters(method: &Method) -> Option<Value> {
    let name = match *method {
        Method::POST => "IdempotencyKey",
        Method::PUT | Method::PATCH | Method::DELETE => "IfMatch",
        _ => return None,
    };
    Some(json!({"$ref": format!("#/components/parameters/{name}")}))
}

/// The names in braces.
pub(super) fn path_names(path: &'static str) -> Vec<&'static str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect()
}

/// Method and path as one word: `get_api_agents_id`.
fn operation_id<H>(route: &Route<H>) -> String {
    let words = route.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let method = route.method.as_str().to_ascii_lowercase();
    words.fold(method, |id, word| format!("{id}_{word}"))
}

/// A fold of the table, and what is wrong with the table.
pub(super) struct Document {
    pub json: Value,
    /// Per route, in the order of the table.
    pub queries: Vec<Vec<QueryParameter>>,
    pub faults: Vec<String>,
}

impl Document {
    pub(super) fn of<H>(title: &str, version: &str, groups: &[Group<H>]) -> Self {
        let mut schemas = Schemas::default();
        let problem = schemas.reference::<ProblemBody<'_>>();
        let (mut paths, mut queries, mut faults) = (Map::new(), Vec::new(), Vec::new());
        let mut seen = BTreeSet::new();
        for (group, route) in
            groups.iter().flat_map(|group| group.routes.iter().map(move |route| (group, route)))
        {
            let (operation, query, flaws) = Operation::of(route, &mut schemas).finish(group.tag, route);
            let place = format!("{} {}", route.method, route.path);
            faults.extend(flaws.into_iter().map(|flaw| format!("{place}: {flaw}")));
            if !seen.insert((route.method.to_string(), super::router::pattern(route.path))) {
                faults.push(format!("{place}: there are two such routes"));
            }
            paths.entry(route.path).or_insert_with(|| json!({}))
                [route.method.as_str().to_ascii_lowercase()] = operation;
            queries.push(query);
        }
        faults.extend(schemas.clashing.iter().map(|name| format!("two different schemas are named {name}")));
        let tags: Vec<Value> = groups.iter().map(|group| json!({"name": group.tag})).collect();
        let json = json!({
            "openapi": "3.1.0",
            "info": {"title": title, "version": version},
            "security": [{"session": []}, {"cookie": []}, {"apiKey": []}],
            "tags": tags,
            "paths": paths,
            "components": components(&schemas.named, &problem),
        });
        faults.extend(
            dangling(&json).into_iter().map(|name| format!("{name} is referred to but not documented")),
        );
        Self { json, queries, faults }
    }
}

fn components(schemas: &BTreeMap<String, Value>, problem: &Value) -> Value {
    json!({
        "schemas": schemas,
        "responses": {
            "Problem": {"description": "Error", "content": {PROBLEM_JSON: {"schema": problem}}},
        },
        "parameters": {
            "IdempotencyKey": {
                "name": "Idempotency-Key", "in": "header", "required": false,
                "description": "1 to 255 visible ASCII characters. For 24 hours the same key and request get the first \
                                answer again; the same key with another request is refused.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
            },
            "IfMatch": {
                "name": "If-Match", "in": "header", "required": false,
                "description": "The resource's ETag: the change is made only if nobody was faster (else 412).",
                "schema": {"type": "string"},
            },
        },
        "securitySchemes": {
            "session": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            "cookie": {"type": "apiKey", "in": "cookie", "name": SESSION_COOKIE},
            "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            "superAdmin": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        },
    })
}

/// Schemas that something refers to and nothing names: an enum of a query type without `#[param(inline)]`, mostly.
fn dangling(document: &Value) -> BTreeSet<String> {
    fn collect(value: &Value, names: &mut BTreeSet<String>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| collect(item, names)),
            Value::Object(members) => {
                let name = members.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix(SCHEMAS));
                names.extend(name.map(str::to_owned));
                members.values().for_each(|member| collect(member, names));
            }
            _ => {}
        }
    }
    let mut names = BTreeSet::new();
    collect(document, &mut names);
    let schemas = &document["components"]["schemas"];
    names.into_iter().filter(|name| schemas.get(name).is_none()).collect()
}

/// 200 with the document itself.
pub struct ThisDocument(Bytes);

impl Output for ThisDocument {
    fn render(self) -> Answer<Response> {
        Ok(([(header::CONTENT_TYPE, JSON)], self.0).into_response())
    }

    fn describe(operation: &mut Operation<'_>) {
        operation.answer(StatusCode::OK, JSON, json!({"type": "object"}));
    }
}

/// Handler of `GET /openapi.json`.
///
/// # Errors
/// None.
pub async fn serve_document<H: Host>(ctx: Ctx<H>) -> Answer<ThisDocument> {
    Ok(ThisDocument(ctx.document))
}
