use super::*;

fn add(body: impl Into<HttpBody>) -> Call {
    call(Method::POST, "/api/books").as_("admin").json(body)
}

fn find(query: &str) -> Call {
    call(Method::GET, &format!("/api/books?{query}")).as_("agent")
}

#[tokio::test]
async fn a_good_body_is_answered_with_what_was_made() {
    let reply = add(r#"{"title": "Emma", "shelf": "fiction"}"#).send().await;
    assert_eq!(reply.status, 201);
    assert_eq!(reply.json(), serde_json::json!({"id": BOOK, "title": "Emma", "shelf": "fiction"}));
    assert_eq!(reply.header("x-event-position"), "12");
}

#[tokio::test]
async fn each_wrong_field_is_named_in_plain_words() {
    let rows = [
        (r#"{"title": "a", "titel": 1}"#, "titel", "is not a known field"),
        (r#"{"pages": 1}"#, "title", "is required"),
        (r#"{"title": "a", "title": "b"}"#, "title", "is given twice"),
        (r#"{"title": 5}"#, "title", "must be a string, not a whole number"),
        (r#"{"title": null}"#, "title", "must be a string, not null"),
        (r#"{"title": "a", "pages": -1}"#, "pages", "must be a whole number of 0 or more"),
        (r#"{"title": "a", "pages": 1.5}"#, "pages", "must be a whole number of 0 or more, not a fraction"),
        (r#"{"title": "a", "shelf": "sea"}"#, "shelf", "must be one of: fiction or science"),
        (
            r#"{"title": "a", "authors": [{"name": "Bo"}, {"name": 1}]}"#,
            "authors[1].name",
            "must be a string, not a whole number",
        ),
        (r#"{"title": "a", "authors": [{}]}"#, "authors[0].name", "is required"),
        (
            r#"{"title": "a", "authors": [{"name": "Bo", "age": 3}]}"#,
            "authors[0].age",
            "is not a known field",
        ),
        (r#"{"title": "a", "authors": "Bo"}"#, "authors", "must be a list, not a string"),
        (r#"{"title": "a\u0000"}"#, "title", "must not contain NUL characters"),
        (
            r#"{"title": "a", "authors": [{"name": "B\u0000"}]}"#,
            "authors[0].name",
            "must not contain NUL characters",
        ),
        (r#"[]"#, "body", "must be an object, not a list"),
        (r#"{"title": ""}"#, "title", "length is lower than 1"),
        (r#"{"title": "a", "authors": [{"name": "B"}]}"#, "authors[0].name", "length is lower than 2"),
    ];
    for (body, field, message) in rows {
        assert_eq!(add(body).send().await.wrong_field(field), message, "{body}");
    }
}

#[tokio::test]
async fn all_broken_rules_are_told_at_once() {
    let reply = add(r#"{"title": "", "authors": [{"name": "B"}]}"#).send().await;
    assert_eq!(reply.problem(422), "invalid");
    assert_eq!(reply.json()["errors"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_escaped_backslash_before_u0000_is_no_nul() {
    assert_eq!(add(r#"{"title": "a\\u0000"}"#).send().await.status, 201);
}

#[tokio::test]
async fn what_is_not_json_is_malformed() {
    for body in ["{", "{\"title\": \"a\"} x", "nope", "{\"title\": \"\\ud800\"}", "{\"title\": \"\u{1}\"}"] {
        assert_eq!(add(body).send().await.problem(400), "malformed", "{body:?}");
    }
    assert_eq!(add("").send().await.problem(400), "malformed");
    assert_eq!(add(b"{\"title\": \"\xff\"}".to_vec()).send().await.problem(400), "malformed");
}

#[tokio::test]
async fn json_may_nest_64_levels_and_no_more() {
    let nested = |levels: usize| {
        let (open, close) = ("[".repeat(levels - 1), "]".repeat(levels - 1));
        add(format!(r#"{{"title": "a [[[[ \" {{", "authors": {open}{close}}}"#))
    };
    let reply = nested(64).send().await;
    assert_eq!(reply.wrong_field("authors[0][0]"), "must be a string, not a list");
    assert_eq!(nested(65).send().await.problem(400), "malformed");
    assert_eq!(add("{\"a\":".repeat(100_000)).send().await.problem(400), "malformed");
}

#[tokio::test]
async fn other_media_types_are_refused() {
    let send = |kind: &str| {
        call(Method::POST, "/api/books").as_("admin").with("content-type", kind).bytes("{}").send()
    };
    assert_eq!(send("text/plain").await.problem(415), "unsupported_media_type");
    assert_eq!(send("application/json; charset=utf-8").await.problem(422), "invalid");
    assert_eq!(send("application/merge-patch+json").await.problem(422), "invalid");
    let untyped = call(Method::POST, "/api/books").as_("admin").bytes("{}").send().await;
    assert_eq!(untyped.problem(415), "unsupported_media_type");
}

#[tokio::test]
async fn a_body_over_its_routes_limit_is_too_large() {
    let hook = |size: usize| call(Method::POST, "/hook").with("x-signature", "ok").bytes(vec![b'x'; size]);
    assert_eq!(hook(64).send().await.text(), "64");
    assert_eq!(hook(65).send().await.problem(413), "too_large");
    let title = |size: usize| add(format!(r#"{{"title": "{}"}}"#, "x".repeat(size)));
    assert_eq!(title(limits::BODY_LIMIT - 13).send().await.wrong_field("title"), "length is greater than 20");
    assert_eq!(title(limits::BODY_LIMIT).send().await.problem(413), "too_large");
    // Refused by what is announced, before any of it is read.
    assert_eq!(hook(0).with("content-length", "65").send().await.problem(413), "too_large");
}

#[tokio::test]
async fn chunks_without_a_length_are_limited_too() {
    let chunks = std::iter::repeat_n(Ok::<_, Infallible>("x".repeat(40)), 2);
    let body = HttpBody::from_stream(futures::stream::iter(chunks));
    let reply = call(Method::POST, "/hook").with("x-signature", "ok").bytes(body).send().await;
    assert_eq!(reply.problem(413), "too_large");
}

#[tokio::test]
async fn a_query_is_typed_and_paged() {
    let reply = find(
        "shelf=fiction&days=9&lent.to=00000000-0000-0000-0000-000000000007&overdue=true&page=2&per_page=20",
    );
    let reply = reply.send().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let body = reply.json();
    assert_eq!(body["books"][0]["title"], format!("Some(Fiction) Some(9) Some({BOOK}) Some(true)"));
    assert_eq!(body["total"], 41);
    assert_eq!((&body["page"], &body["per_page"], &body["total_pages"]), (&2.into(), &20.into(), &3.into()));
    assert_eq!(find("").send().await.json()["per_page"], 20);
}

#[tokio::test]
async fn each_wrong_query_parameter_is_named_in_plain_words() {
    let rows = [
        ("shelve=fiction", "shelve", "is not a known query parameter"),
        ("shelf=sea", "shelf", "must be one of: fiction or science"),
        ("days=x", "days", "must be a whole number"),
        ("days=", "days", "must be a whole number"),
        ("days=99999999999999999999", "days", "is too large a number"),
        ("days=10", "days", "greater than 9"),
        ("days=1&days=2", "days", "is given twice"),
        ("lent.to=7", "lent.to", "must be a UUID"),
        ("overdue=yes", "overdue", "must be true or false"),
        ("page=0", "page", "must be a whole number from 1 to 1000000000"),
        ("per_page=101", "per_page", "must be a whole number from 1 to 100"),
        ("per_page=many", "per_page", "must be a whole number from 1 to 100"),
        ("shelf=a%00b", "shelf", "must not contain NUL characters"),
    ];
    for (query, field, message) in rows {
        assert_eq!(find(query).send().await.wrong_field(field), message, "{query}");
    }
}

#[tokio::test]
async fn routes_without_parameters_refuse_any_but_webhooks_do_not() {
    let reply = call(Method::GET, "/api/me?x=1").as_("agent").send().await;
    assert_eq!(reply.wrong_field("x"), "is not a known query parameter");
    let reply = call(Method::POST, "/hook?x=1").with("x-signature", "ok").send().await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn broken_percent_encoding_is_malformed() {
    for query in ["shelf=%", "shelf=%4", "shelf=%zz", "shelf=%ff"] {
        assert_eq!(find(query).send().await.problem(400), "malformed", "{query}");
    }
    assert_eq!(call(Method::GET, "/api/books/%ff").as_("agent").send().await.problem(400), "malformed");
}

#[tokio::test]
async fn a_path_that_names_nothing_is_not_found() {
    for path in [
        "/api/books/7",
        "/api/books/00000000-0000-0000-0000-000000000008",
        "/api/shelves/sea/1",
        "/api/shelves/science/one",
        "/api/shelves/a%00b/1",
    ] {
        assert_eq!(call(Method::GET, path).as_("agent").send().await.problem(404), "not_found", "{path}");
    }
    let reply = call(Method::GET, "/api/shelves/science/41").as_("agent").send().await;
    assert_eq!(reply.json()[0]["title"], "Science 41");
}

#[tokio::test]
async fn an_upload_is_the_part_file() {
    let form = |parts: &str| {
        let target = format!("/api/books/{BOOK}/cover");
        let call =
            call(Method::POST, &target).as_("agent").with("content-type", "multipart/form-data; boundary=B");
        call.bytes(format!("{parts}--B--\r\n"))
    };
    let part = |name: &str| {
        format!(
            "--B\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"c.png\"\r\nContent-Type: image/png\r\n\r\nPNG\r\n"
        )
    };
    let reply = form(&part("file")).send().await;
    assert_eq!(reply.status, 202, "{}", reply.text());
    assert_eq!(reply.json(), serde_json::json!({"name": "c.png", "type": "image/png", "size": 3}));
    assert_eq!(form(&part("fiel")).send().await.wrong_field("fiel"), "is not a known field");
    assert_eq!(form(&(part("file") + &part("file"))).send().await.wrong_field("file"), "is given twice");
    assert_eq!(form("").send().await.wrong_field("file"), "is required");
    assert_eq!(form("--B\r\nnonsense").send().await.problem(400), "malformed");
}

#[tokio::test]
async fn a_list_is_a_body_only_where_the_route_wants_one() {
    let import = |body: &'static str| call(Method::POST, "/api/books/import").as_("agent").json(body).send();
    assert_eq!(import(r#"[{"title": "a"}, {"title": "b"}]"#).await.text(), "2");
    assert_eq!(
        import(r#"[{"title": "a"}, {"title": ""}]"#).await.wrong_field("[1].title"),
        "length is lower than 1"
    );
    assert_eq!(import("{}").await.wrong_field("body"), "must be a list, not an object");
    let values = r#" ["Emma", null, 0, [], null]"#;
    assert_eq!(add(values).send().await.wrong_field("body"), "must be an object, not a list");
}
