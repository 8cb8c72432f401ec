//! The framework against a small table, over requests and answers only.

// A test needs no ids that can be repeated.
#![allow(clippy::disallowed_methods)]

mod access;
mod document;
mod idempotency;
mod inputs;
mod library;
mod protocol;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::{Body as HttpBody, Bytes, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tower::ServiceExt;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::*;
use library::*;

/// A request being put together.
struct Call {
    request: axum::http::request::Builder,
    body: HttpBody,
}

fn call(method: Method, target: &str) -> Call {
    let peer: SocketAddr = "192.0.2.1:4000".parse().unwrap();
    Call {
        request: Request::builder().method(method).uri(target).extension(ConnectInfo(peer)),
        body: HttpBody::empty(),
    }
}

impl Call {
    fn with(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    fn from(mut self, peer: &str) -> Self {
        self.request = self.request.extension(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
        self
    }

    fn as_(self, token: &str) -> Self {
        self.with("authorization", &format!("Bearer {token}"))
    }

    fn json(self, body: impl Into<HttpBody>) -> Self {
        self.with("content-type", "application/json").bytes(body)
    }

    fn bytes(mut self, body: impl Into<HttpBody>) -> Self {
        self.body = body.into();
        self
    }

    async fn at(self, router: &Router) -> Reply {
        let response = router.clone().oneshot(self.request.body(self.body).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        Reply { status: head.status, headers: head.headers, bytes }
    }

    async fn send(self) -> Reply {
        self.at(&Library::new().api().router()).await
    }
}

#[derive(Debug)]
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    bytes: Bytes,
}

impl Reply {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts that this is a proper problem, and gives its code.
    #[track_caller]
    fn problem(&self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        assert_eq!(self.header(header::CONTENT_TYPE.as_str()), "application/problem+json");
        let body = self.json();
        assert_eq!(body["status"], status);
        assert_eq!(body["request_id"], self.header("x-request-id"));
        let code = body["code"].as_str().unwrap();
        assert_eq!(body["type"], format!("urn:omnistream:problem:{code}"));
        assert!(body["title"].is_string() && body["detail"].is_string());
        code.to_owned()
    }

    /// Asserts a 422 about this one field, and gives its message.
    #[track_caller]
    fn wrong_field(&self, field: &str) -> String {
        assert_eq!(self.problem(422), "invalid");
        let body = self.json();
        let errors = body["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!(errors[0]["field"], field, "{errors:?}");
        errors[0]["message"].as_str().unwrap().to_owned()
    }
}
