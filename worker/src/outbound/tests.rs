//! Against canaries: listeners on this machine that must never hear anything.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use commands::outbound::Lookup;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A listener that counts connections and answers each with the same bytes.
struct Canary {
    port: u16,
    heard: Arc<AtomicUsize>,
}

impl Canary {
    async fn answering(bytes: &'static [u8]) -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let (port, heard) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let counter = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let _ = connection.read(&mut [0; 4096]).await;
                    let _ = connection.write_all(bytes).await;
                });
            }
        });
        Self { port, heard }
    }

    async fn silent() -> Self {
        Self::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await
    }

    fn heard(&self) -> usize {
        self.heard.load(Ordering::SeqCst)
    }
}

/// Answers the first question with the first list, and so on; the last one stays.
struct Script(Mutex<VecDeque<Vec<IpAddr>>>, AtomicUsize);

impl Script {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let parsed = answers.iter().map(|one| one.iter().map(|ip| ip.parse().unwrap()).collect());
        Arc::new(Self(Mutex::new(parsed.collect()), AtomicUsize::new(0)))
    }
}

#[async_trait]
impl Lookup for Script {
    async fn lookup(&self, _: &str) -> std::io::Result<Vec<IpAddr>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.0.lock().unwrap();
        Ok(if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() })
    }
}

async fn post(guard: Guard, url: &str) -> Result<Received, Unanswered> {
    Outbound::new(guard).unwrap().post(url, HeaderMap::new(), b"{}".to_vec()).await
}

#[tokio::test]
async fn no_spelling_of_this_machine_is_reached() {
    let canary = Canary::silent().await;
    for host in [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0",
        "0.0.0.0",
        "127.8.8.8",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "localhost",
        "a.localhost.",
        "１２７.0.0.1",
    ] {
        let url = format!("http://{host}:{}/hook", canary.port);
        let refused = post(Guard::new(false), &url).await;
        assert_eq!(refused, Err(Unanswered::Refused(Refused::Private)), "{url}");
    }
    assert_eq!(canary.heard(), 0);
    let url = format!("http://127.0.0.1:{}/hook", canary.port);
    assert_eq!(post(Guard::new(true), &url).await.unwrap().status, 200);
    assert_eq!(canary.heard(), 1, "the canary can sing");
}

#[tokio::test]
async fn a_name_that_turns_inward_after_the_check_is_not_followed() {
    let canary = Canary::silent().await;
    let guard = Guard::with_lookup(false, Script::new(&[&["93.184.216.34"], &["127.0.0.1"]]));
    let url = format!("http://rebind.example:{}/", canary.port);
    assert_eq!(guard.check(&url).await, Ok(()));
    assert_eq!(post(guard, &url).await, Err(Unanswered::Refused(Refused::Private)));
    let among_others = Guard::with_lookup(false, Script::new(&[&["127.0.0.1", "93.184.216.34"]]));
    assert_eq!(post(among_others, &url).await, Err(Unanswered::Refused(Refused::Private)));
    assert_eq!(canary.heard(), 0);
}

#[tokio::test]
async fn a_connection_goes_to_the_address_that_was_judged() {
    let canary = Canary::silent().await;
    // Asked once more, the name would lead nowhere.
    let script = Script::new(&[&["127.0.0.1"], &["192.0.2.1"]]);
    let guard = Guard::with_lookup(true, Arc::clone(&script) as Arc<dyn Lookup>);
    let answer = post(guard, &format!("http://pinned.example:{}/", canary.port)).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "hi"));
    assert_eq!((canary.heard(), script.1.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test]
async fn a_redirection_is_an_answer_and_not_followed() {
    let canary = Canary::answering(
        b"HTTP/1.1 307 Temporary Redirect\r\nlocation: /elsewhere\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    let answer = post(Guard::new(true), &format!("http://127.0.0.1:{}/", canary.port)).await.unwrap();
    assert_eq!((answer.status, answer.retry_after.as_deref()), (307, Some("7")));
    assert_eq!(canary.heard(), 1);
}

#[tokio::test]
async fn no_more_is_read_of_an_answer_than_is_of_use() {
    const LONG: &[u8] = &{
        let mut bytes = [b'a'; 20_000];
        let head = b"HTTP/1.1 500 Oh\r\ncontent-length: 1000000000\r\n\r\nA\0B\xff";
        let mut at = 0;
        while at < head.len() {
            bytes[at] = head[at];
            at += 1;
        }
        bytes
    };
    let canary = Canary::answering(LONG).await;
    let answer = post(Guard::new(true), &format!("http://127.0.0.1:{}/", canary.port)).await.unwrap();
    assert_eq!(answer.status, 500);
    assert!(
        answer.body.starts_with("A\u{fffd}B\u{fffd}aaa") && answer.body.chars().count() == ANSWER_MAX_BYTES
    );
}

#[tokio::test]
async fn what_does_not_answer_is_told_apart() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{closed}/");
    assert_eq!(post(Guard::new(true), &url).await, Err(Unanswered::Unreachable));
    let rude = Canary::answering(b"").await;
    let url = format!("http://127.0.0.1:{}/", rude.port);
    assert_eq!(post(Guard::new(true), &url).await, Err(Unanswered::BrokeOff));
    assert_eq!(post(Guard::new(true), "ftp://example.com/").await, Err(Unanswered::Refused(Refused::Form)));
}
