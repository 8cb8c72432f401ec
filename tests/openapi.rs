//! The served API document, as tests that are generated from it need it.

use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::support::Server;

pub struct Document(Value);

/// One method of one path.
#[derive(Clone, Debug)]
pub struct Operation {
    pub method: Method,
    pub path: String,
    /// Who may, as `x-auth` says it.
    pub auth: String,
    /// The permission that lets custom roles into a `supervisor` operation.
    pub permission: Option<String>,
    /// Of a JSON body.
    body: Option<Value>,
}

impl Document {
    pub async fn of(server: &Server) -> Self {
        Self(server.client().get("/openapi.json").await.expect(StatusCode::OK))
    }

    pub fn operations(&self) -> Vec<Operation> {
        let paths = self.0["paths"].as_object().expect("paths");
        let of_path = |(path, methods): (&String, &Value)| {
            let methods = methods.as_object().expect("methods").clone();
            let path = path.clone();
            methods.into_iter().map(move |(method, operation)| Operation {
                method: method.to_ascii_uppercase().parse().expect("a method"),
                path: path.clone(),
                auth: operation["x-auth"]
                    .as_str()
                    .unwrap_or_else(|| panic!("{path} has no x-auth"))
                    .to_owned(),
                permission: operation["x-permission"].as_str().map(str::to_owned),
                body: operation.pointer("/requestBody/content/application~1json/schema").cloned(),
            })
        };
        paths.iter().flat_map(of_path).collect()
    }

    /// A body with what is required, and everything that names something by its id, which is this one.
    pub fn body(&self, operation: &Operation, id: Uuid) -> Option<Value> {
        operation.body.as_ref().map(|schema| self.example(schema, id))
    }

    fn example(&self, schema: &Value, id: Uuid) -> Value {
        if let Some(reference) = schema["$ref"].as_str() {
            let target = self.0.pointer(reference.trim_start_matches('#'));
            return self.example(target.unwrap_or_else(|| panic!("{reference} is nowhere")), id);
        }
        if let Some(fixed) = schema.get("const").or_else(|| schema.pointer("/enum/0")) {
            return fixed.clone();
        }
        for alternatives in ["oneOf", "anyOf"] {
            if let Some(all) = schema[alternatives].as_array() {
                let real = all.iter().find(|one| one["type"] != "null");
                return real.map_or(Value::Null, |one| self.example(one, id));
            }
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds.iter().find_map(|kind| kind.as_str().filter(|kind| *kind != "null")),
            kind => kind.as_str(),
        };
        match (kind, schema["format"].as_str()) {
            (Some("string"), Some("uuid")) => json!(id),
            (Some("string"), Some("date-time")) => json!("2099-11-21T08:30:00Z"),
            (Some("string"), Some("email")) => json!("ani@example.com"),
            (Some("string"), _) => json!("text"),
            (Some("integer" | "number"), _) => schema.get("minimum").cloned().unwrap_or(json!(1)),
            (Some("boolean"), _) => json!(true),
            (Some("array"), _) if self.names_ids(&schema["items"]) => {
                json!([self.example(&schema["items"], id)])
            }
            (Some("array"), _) => json!([]),
            _ => self.example_object(schema, id),
        }
    }

    fn example_object(&self, schema: &Value, id: Uuid) -> Value {
        let mut object = Map::new();
        for part in schema["allOf"].as_array().into_iter().flatten() {
            object.extend(self.example(part, id).as_object().cloned().unwrap_or_default());
        }
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            if required.contains(&json!(name)) || self.names_ids(property) {
                object.insert(name.clone(), self.example(property, id));
            }
        }
        Value::Object(object)
    }

    /// Whether an id stands here, itself or in a list.
    fn names_ids(&self, schema: &Value) -> bool {
        schema["format"] == "uuid" || schema.get("items").is_some_and(|items| self.names_ids(items))
    }

    /// Whether the operation's body refers to something by its id.
    pub fn refers_to_ids(&self, operation: &Operation) -> bool {
        let marker = Uuid::from_u128(0x1d);
        self.body(operation, marker).is_some_and(|body| body.to_string().contains(&marker.to_string()))
    }
}

impl Operation {
    /// Signed-in callers of a tenant.
    pub fn is_for_members(&self) -> bool {
        !matches!(self.auth.as_str(), "public" | "signature" | "super")
    }

    pub fn has_parameters(&self) -> bool {
        self.path.contains('{')
    }

    /// The path with its parameters filled in; `value` gets the path before a parameter, and its name.
    pub fn at(&self, value: impl Fn(&str, &str) -> String) -> String {
        let mut path = String::new();
        for part in self.path.split('/').skip(1) {
            let name = part.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
            let part = name.map_or_else(|| part.to_owned(), |name| value(&path, name));
            path = format!("{path}/{part}");
        }
        path
    }
}
