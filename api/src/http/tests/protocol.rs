use super::*;

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    assert_eq!(call(Method::GET, "/api/nothing").send().await.problem(404), "not_found");
    let reply = call(Method::PUT, "/api/books").send().await;
    assert_eq!(reply.problem(405), "method_not_allowed");
    let mut allowed: Vec<&str> = reply.header("allow").split(',').map(str::trim).collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
    assert_eq!(call(Method::HEAD, "/health").send().await.status, 200);
}

#[tokio::test]
async fn a_request_id_is_the_clients_own_or_its_trace_or_new() {
    let own = "6f9619ff-8b86-d011-b42d-00cf4fc964ff";
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let id = async |call: Call| call.send().await.header("x-request-id").to_owned();
    let health = || call(Method::GET, "/health");
    assert_eq!(id(health().with("x-request-id", own)).await, own);
    assert_eq!(id(health().with("traceparent", trace)).await, "0af76519-16cd-43dd-8448-eb211c80319c");
    assert_eq!(id(health().with("traceparent", trace).with("x-request-id", own)).await, own);
    for odd in ["", "nonsense", "00000000-0000-0000-0000-000000000000"] {
        let made = id(health().with("x-request-id", odd).with("traceparent", "00-short-x-01")).await;
        assert_eq!(Uuid::try_parse(&made).unwrap().get_version_num(), 7, "{odd}");
    }
}

#[tokio::test]
async fn if_match_is_read_as_a_version() {
    let change =
        |tag: &str| call(Method::PATCH, &format!("/api/books/{BOOK}")).as_("agent").with("if-match", tag);
    for (tag, version) in [("\"12\"", "Some(12)"), ("W/\"12\"", "Some(12)"), ("*", "None")] {
        assert_eq!(change(tag).send().await.text(), format!("{BOOK} {version} None false"));
    }
    for tag in ["12", "\"x\"", "\"1\", \"2\""] {
        assert_eq!(change(tag).send().await.problem(412), "precondition_failed", "{tag}");
    }
    let stranger = call(Method::PATCH, &format!("/api/books/{BOOK}")).with("if-match", "12").send().await;
    assert_eq!(stranger.problem(401), "unauthenticated", "a stranger hears that first");
    let reply = change("*").with("prefer", "wait=3, respond-async").json(r#"{"title": "E"}"#).send().await;
    assert_eq!(reply.text(), format!("{BOOK} None Some(\"E\") true"));
}

#[tokio::test]
async fn a_version_is_an_etag_and_known_ones_are_not_sent_again() {
    let read = || call(Method::GET, &format!("/api/books/{BOOK}")).as_("agent");
    assert_eq!(read().send().await.header("etag"), "\"3\"");
    let known = read().with("if-none-match", "\"2\", W/\"3\"").send().await;
    assert_eq!((known.status.as_u16(), known.bytes.len(), known.header("etag")), (304, 0, "\"3\""));
    assert_eq!(read().with("if-none-match", "\"2\"").send().await.status, 200);
}

#[tokio::test]
async fn failures_of_ours_tell_nothing_about_the_inside() {
    for mood in ["fail", "panic"] {
        let body = format!(r#"{{"title": "a", "mood": "{mood}"}}"#);
        let reply = call(Method::POST, "/api/books").as_("admin").json(body).send().await;
        assert_eq!(reply.problem(500), "internal");
        assert!(!reply.text().contains("hunter2") && !reply.text().contains("paper"));
    }
    assert_eq!(call(Method::GET, "/api/slow").send().await.problem(504), "timeout");
}

#[tokio::test]
async fn each_caller_has_a_rate_of_its_own() {
    let router = Library::limited().api().router();
    let me = |token: &str| call(Method::GET, "/api/me").as_(token);
    for _ in 0..SESSION_LIMIT {
        assert_eq!(me("agent").at(&router).await.status, 200);
    }
    let reply = me("agent").at(&router).await;
    assert_eq!(reply.problem(429), "rate_limited");
    let wait: u64 = reply.header("retry-after").parse().unwrap();
    assert!((1..=60 / u64::from(SESSION_LIMIT)).contains(&wait), "{wait}");
    assert_eq!(me("admin").at(&router).await.status, 200);
}

#[tokio::test]
async fn guessing_at_tokens_is_counted_by_address() {
    let router = Library::limited().api().router();
    let guess = |n: u32| call(Method::GET, "/api/me").as_(&format!("guess-{n}"));
    for n in 0..SESSION_LIMIT {
        assert_eq!(guess(n).at(&router).await.problem(401), "unauthenticated");
    }
    assert_eq!(guess(99).at(&router).await.problem(429), "rate_limited");
    assert_eq!(guess(99).from("198.51.100.9:1").at(&router).await.problem(401), "unauthenticated");
    // Probes and signed webhooks are never turned away.
    assert_eq!(call(Method::GET, "/health").at(&router).await.status, 200);
    for _ in 0..=SESSION_LIMIT {
        assert_eq!(call(Method::POST, "/hook").with("x-signature", "ok").at(&router).await.status, 200);
    }
}

#[tokio::test]
async fn a_forwarded_address_is_believed_only_from_a_trusted_proxy() {
    let ip = async |peer: &str, chain: &str| {
        let reply =
            call(Method::GET, "/api/me").as_("agent").from(peer).with("x-forwarded-for", chain).send().await;
        reply.text().strip_prefix("agent ").map(str::to_owned)
    };
    assert_eq!(ip("192.0.2.1:1", "203.0.113.5").await.as_deref(), Some("Some(192.0.2.1)"));
    assert_eq!(ip("10.0.0.1:1", "203.0.113.5").await.as_deref(), Some("Some(203.0.113.5)"));
    assert_eq!(
        ip("10.0.0.1:1", "1.1.1.1, 203.0.113.5, 10.0.0.1").await.as_deref(),
        Some("Some(203.0.113.5)")
    );
    assert_eq!(ip("10.0.0.1:1", "203.0.113.5, nonsense").await.as_deref(), Some("Some(10.0.0.1)"));
    assert_eq!(ip("[::ffff:10.0.0.1]:1", "203.0.113.5").await.as_deref(), Some("Some(203.0.113.5)"));
}

#[tokio::test]
async fn every_answer_is_protected() {
    for target in ["/api/me", "/health", "/api/nothing"] {
        let reply = call(Method::GET, target).send().await;
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        assert_eq!(reply.header("cache-control"), "no-store");
        assert_eq!(reply.header("content-security-policy"), "default-src 'none'; frame-ancestors 'none'");
    }
}

#[tokio::test]
async fn only_known_origins_may_call_from_a_browser() {
    let preflight = |origin: &str| {
        let call = call(Method::OPTIONS, "/api/books").with("origin", origin);
        call.with("access-control-request-method", "POST")
            .with("access-control-request-headers", "x-api-key")
            .send()
    };
    let welcome = preflight("https://app.example.com").await;
    assert_eq!(welcome.header("access-control-allow-origin"), "https://app.example.com");
    assert_eq!(welcome.header("access-control-allow-headers"), "x-api-key");
    assert_eq!(preflight("https://evil.example").await.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn answers_come_in_their_own_formats() {
    let get = |target: &str| call(Method::GET, target).as_("agent").send();
    let table = get("/api/books/export").await;
    assert_eq!((table.text(), table.header("content-type")), ("id,title\n7,x\n", "text/csv; charset=utf-8"));
    assert_eq!(table.header("content-disposition"), "attachment; filename*=UTF-8''b%C3%BCcher.csv");
    let scan = get(&format!("/api/books/{BOOK}/scan")).await;
    assert_eq!((scan.text(), scan.header("content-type")), ("%PDF", "application/pdf"));
    let live = get("/api/live").await;
    assert_eq!((live.text(), live.header("content-type")), ("data: hello\n\n", "text/event-stream"));
    assert_eq!(get("/api/odd").await.status, 418);
}

#[tokio::test]
async fn answers_are_compressed_on_request() {
    let reply = call(Method::GET, "/openapi.json").with("accept-encoding", "gzip").send().await;
    assert_eq!((reply.status.as_u16(), reply.header("content-encoding")), (200, "gzip"));
}

#[tokio::test]
async fn operators_routes_are_not_public() {
    let api = Library::new().api();
    assert_eq!(call(Method::GET, "/metrics").at(&api.router()).await.problem(404), "not_found");
    assert_eq!(call(Method::GET, "/metrics").at(&api.operator_router()).await.text(), "done");
    assert_eq!(call(Method::GET, "/api/me").at(&api.operator_router()).await.problem(404), "not_found");
}

#[tokio::test]
async fn the_reference_is_served_whole_and_from_here() {
    assert_eq!(call(Method::GET, "/docs").send().await.header("location"), "/docs/");
    for (file, kind) in
        [("", "text/html"), ("swagger-ui-bundle.js", "text/javascript"), ("swagger-ui.css", "text/css")]
    {
        let reply = call(Method::GET, &format!("/docs/{file}")).with("accept-encoding", "gzip").send().await;
        assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, kind), "{file}");
        assert!(reply.header("content-security-policy").contains("script-src 'self';"));
    }
    let start = call(Method::GET, "/docs/swagger-initializer.js").send().await;
    assert!(start.text().contains("/openapi.json"), "{}", start.text());
    assert_eq!(call(Method::GET, "/docs/none.js").send().await.problem(404), "not_found");
}
