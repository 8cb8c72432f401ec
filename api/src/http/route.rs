//! The rows of the route table: method, path, summary, access and handler of an endpoint, one line each.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use axum::response::Response;
use futures::future::BoxFuture;
use serde_json::json;
use utoipa::ToSchema;

use super::Host;
use super::access::Access;
use super::context::Ctx;
use super::input::{Incoming, Input};
use super::limits::{BODY_LIMIT, REQUEST_TIMEOUT};
use super::openapi::Operation;
use super::output::Output;
use super::problem::Answer;

/// The rows of one resource, shown together in the document.
pub struct Group<H> {
    pub tag: &'static str,
    pub routes: Vec<Route<H>>,
}

pub fn group<H>(tag: &'static str, routes: impl IntoIterator<Item = Route<H>>) -> Group<H> {
    Group { tag, routes: routes.into_iter().collect() }
}

/// Where an endpoint is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    Public,
    /// The address that only operators reach.
    Operator,
    Both,
}

type Run<H> = dyn Fn(Ctx<H>, Incoming) -> BoxFuture<'static, Answer<Response>> + Send + Sync;
type Describe = Box<dyn Fn(&mut Operation<'_>) + Send + Sync>;

/// One endpoint.
pub struct Route<H> {
    pub method: Method,
    /// Parameters in braces: `/api/agents/{id}`.
    pub path: &'static str,
    pub summary: &'static str,
    pub description: Option<&'static str>,
    pub access: Access,
    pub(super) listener: Listener,
    /// Bytes.
    pub(super) body_limit: usize,
    pub(super) timeout: Duration,
    pub(super) rate_limited: bool,
    pub(super) tolerant: bool,
    pub(super) run: Arc<Run<H>>,
    /// The handler's signature first, then what the row adds.
    pub(super) describe: Vec<Describe>,
}

macro_rules! methods {
    ($($name:ident $method:ident)*) => {$(
        pub fn $name<H: Host, A: 'static>(
            path: &'static str,
            summary: &'static str,
            access: Access,
            handler: impl Handler<H, A>,
        ) -> Route<H> {
            Route::new(Method::$method, path, summary, access, handler)
        }
    )*};
}

methods! { get GET post POST put PUT patch PATCH delete DELETE }

impl<H: Host> Route<H> {
    fn new<A: 'static, F: Handler<H, A>>(
        method: Method,
        path: &'static str,
        summary: &'static str,
        access: Access,
        handler: F,
    ) -> Self {
        Self {
            method,
            path,
            summary,
            description: None,
            access,
            listener: Listener::Public,
            body_limit: BODY_LIMIT,
            timeout: REQUEST_TIMEOUT,
            // A provider's webhooks all come from a few addresses, and one that is turned away may be lost.
            rate_limited: access != Access::Signature,
            tolerant: access == Access::Signature,
            run: Arc::new(move |ctx, request| handler.run(ctx, request)),
            describe: vec![Box::new(F::describe)],
        }
    }

    /// What a reader must know beyond the summary.
    #[must_use]
    pub fn describe(mut self, description: &'static str) -> Self {
        self.description = Some(description);
        self
    }

    /// Another limit for the body than [`BODY_LIMIT`], in bytes.
    #[must_use]
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// Another limit for the answer than [`REQUEST_TIMEOUT`].
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// Not counted against the caller's rate: probes.
    #[must_use]
    pub fn unlimited(mut self) -> Self {
        self.rate_limited = false;
        self
    }

    /// Unknown query parameters pass: providers add some.
    #[must_use]
    pub fn tolerant(mut self) -> Self {
        self.tolerant = true;
        self
    }

    #[must_use]
    pub fn on(mut self, listener: Listener) -> Self {
        self.listener = listener;
        self
    }

    /// Documents what a `RawBody` holds.
    #[must_use]
    pub fn reads<T: ToSchema>(mut self, content_type: &'static str) -> Self {
        self.describe.push(Box::new(move |operation| {
            let schema = operation.schemas.reference::<T>();
            operation.request_body(content_type, schema, true);
        }));
        self
    }

    /// Documents what a `Response` or `File` holds, in place of what the handler's signature says of that status.
    #[must_use]
    pub fn answers(mut self, status: StatusCode, content_type: &'static str) -> Self {
        self.describe.push(Box::new(move |operation| {
            operation.answer(status, content_type, json!({"type": "string"}));
        }));
        self
    }
}

/// `async fn(Ctx, inputs…) -> Answer<output>` with up to three inputs.
pub trait Handler<H, A>: Clone + Send + Sync + 'static {
    fn run(&self, ctx: Ctx<H>, request: Incoming) -> BoxFuture<'static, Answer<Response>>;

    fn describe(operation: &mut Operation<'_>);
}

macro_rules! handlers {
    ($(($($input:ident),*))*) => {$(
        impl<H, F, Fut, O, $($input),*> Handler<H, ($($input,)*)> for F
        where
            H: Host,
            F: Fn(Ctx<H>, $($input),*) -> Fut + Clone + Send + Sync + 'static,
            Fut: Future<Output = Answer<O>> + Send,
            O: Output,
            $($input: Input,)*
        {
            #[allow(non_snake_case, unused_variables)]
            fn run(&self, ctx: Ctx<H>, request: Incoming) -> BoxFuture<'static, Answer<Response>> {
                let handler = self.clone();
                Box::pin(async move {
                    $(let $input = $input::take(&request).await?;)*
                    drop(request);
                    handler(ctx, $($input),*).await?.render()
                })
            }

            fn describe(operation: &mut Operation<'_>) {
                $($input::describe(operation);)*
                O::describe(operation);
            }
        }
    )*};
}

handlers! { () (A) (A, B) (A, B, C) }
