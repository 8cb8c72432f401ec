use std::time::Duration;

use commands::idempotency::RENEWAL;

use super::*;

fn add(key: &str, body: &str) -> Call {
    call(Method::POST, "/api/books").as_("admin").with("idempotency-key", key).json(body.to_owned())
}

const EMMA: &str = r#"{"title": "Emma"}"#;

#[tokio::test]
async fn the_same_request_gets_its_first_answer_again() {
    let library = Library::new();
    let router = library.api().router();
    let first = add("k", EMMA).at(&router).await;
    let again = add("k", EMMA).at(&router).await;
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (201, 201));
    assert_eq!(first.bytes, again.bytes);
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), ("", "true"));
    assert_eq!((again.header("x-event-position"), again.header("content-type")), ("12", "application/json"));
    assert_ne!(first.header("x-request-id"), again.header("x-request-id"));
    assert_eq!(library.created.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn another_request_with_the_key_is_refused() {
    let router = Library::new().api().router();
    add("k", EMMA).at(&router).await;
    assert_eq!(
        add("k", r#"{"title": "Persuasion"}"#).at(&router).await.problem(422),
        "idempotency_key_reused"
    );
    let elsewhere =
        call(Method::POST, &format!("/api/books/{BOOK}/cover")).as_("admin").with("idempotency-key", "k");
    assert_eq!(elsewhere.json(EMMA).at(&router).await.problem(422), "idempotency_key_reused");
}

#[tokio::test]
async fn callers_do_not_share_keys() {
    let library = Library::new();
    let router = library.api().router();
    let as_key = || {
        call(Method::POST, "/api/books").with("x-api-key", "key:*").with("idempotency-key", "k").json(EMMA)
    };
    add("k", EMMA).at(&router).await;
    assert_eq!(as_key().at(&router).await.header("idempotency-replayed"), "");
    assert_eq!(as_key().at(&router).await.header("idempotency-replayed"), "true");
    assert_eq!(library.created.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_duplicate_waits_for_nobody() {
    const WAITING: &str = r#"{"title": "Emma", "mood": "wait"}"#;
    let library = Library::new();
    let router = library.api().router();
    let first = tokio::spawn({
        let router = router.clone();
        async move { add("k", WAITING).at(&router).await }
    });
    while library.created.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(add("k", WAITING).at(&router).await.problem(409), "idempotency_in_progress");
    library.gate.notify_one();
    assert_eq!(first.await.unwrap().status, 201);
    assert_eq!(add("k", WAITING).at(&router).await.header("idempotency-replayed"), "true");
}

#[tokio::test(start_paused = true)]
async fn work_that_takes_keeps_its_key() {
    let library = Library::new();
    let router = library.api().router();
    let first = tokio::spawn({
        let router = router.clone();
        async move { add("k", r#"{"title": "Emma", "mood": "wait"}"#).at(&router).await }
    });
    while library.created.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(RENEWAL * 2 + Duration::from_secs(1)).await;
    assert_eq!(library.renewals.load(Ordering::SeqCst), 2);
    library.gate.notify_one();
    assert_eq!(first.await.unwrap().status, 201);
    tokio::time::sleep(RENEWAL * 2).await;
    assert_eq!(library.renewals.load(Ordering::SeqCst), 2, "what is done needs no key");
}

#[tokio::test]
async fn the_work_goes_on_when_the_client_hangs_up() {
    const WAITING: &str = r#"{"title": "Emma", "mood": "wait"}"#;
    let library = Library::new();
    let router = library.api().router();
    let hung_up = tokio::spawn({
        let router = router.clone();
        async move { add("k", WAITING).at(&router).await }
    });
    while library.created.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    hung_up.abort();
    assert!(hung_up.await.unwrap_err().is_cancelled());
    library.gate.notify_one();
    let answered = async {
        while library.claims.lock().unwrap().values().all(|(_, answer)| answer.is_none()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), answered).await.unwrap();
    assert_eq!(add("k", WAITING).at(&router).await.status, 201);
    assert_eq!(library.created.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn refusals_are_kept_and_failures_are_not() {
    for (mood, status, runs) in [("conflict", 409, 1), ("fail", 500, 2), ("panic", 500, 2)] {
        let library = Library::new();
        let router = library.api().router();
        let body = format!(r#"{{"title": "Emma", "mood": "{mood}"}}"#);
        for _ in 0..2 {
            assert_eq!(add("k", &body).at(&router).await.status.as_u16(), status);
        }
        assert_eq!(library.created.load(Ordering::SeqCst), runs, "{mood}");
    }
}

#[tokio::test]
async fn a_key_is_1_to_255_visible_characters() {
    for key in ["", "a b", "a\tb", &"k".repeat(256)] {
        let reply = add(key, EMMA).send().await;
        assert_eq!(reply.wrong_field("Idempotency-Key"), "must be 1 to 255 visible ASCII characters");
    }
    assert_eq!(add(&"~".repeat(255), EMMA).send().await.status, 201);
}

#[tokio::test]
async fn only_posts_heed_the_key() {
    let library = Library::new();
    let change =
        call(Method::PATCH, &format!("/api/books/{BOOK}")).as_("agent").with("idempotency-key", "a b");
    assert_eq!(change.at(&library.api().router()).await.status, 200);
    assert!(library.claims.lock().unwrap().is_empty());
}

#[tokio::test]
async fn public_requests_share_a_scope() {
    let library = Library::new();
    let router = library.api().router();
    let suggest = || call(Method::POST, "/api/public-books").with("idempotency-key", "k").json(EMMA);
    suggest().at(&router).await;
    assert_eq!(suggest().from("198.51.100.9:1").at(&router).await.header("idempotency-replayed"), "true");
    assert_eq!(library.created.load(Ordering::SeqCst), 1);
}
