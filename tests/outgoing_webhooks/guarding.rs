//! No webhook leads inside, whenever it is tried.

use reqwest::StatusCode;
use serde_json::json;

use super::{HOOKS, hook};
use crate::support::Server;
use crate::support::receiver::Receiver;

const GUARDED: (&str, &str) = ("OMNISTREAM_ALLOW_PRIVATE_ADDRESSES", "false");

/// The same server in many spellings, and others that nobody outside has any business with.
const INSIDE: [&str; 24] = [
    "127.0.0.1",
    "localhost",
    "LOCALHOST.",
    "0.0.0.0",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "169.254.169.254",
    "100.100.100.200",
    "192.0.2.1",
    "224.0.0.1",
    "[fd00:ec2::254]",
    "[fe80::1]",
];

#[tokio::test]
async fn a_private_address_is_refused_when_it_is_written_down() {
    let (server, receiver) = (Server::start_with(&[GUARDED]).await, Receiver::start().await);
    let tenant = server.tenant().await;
    let made = hook(&tenant.admin, "https://hooks.example.com/", &["contact.created"]).await;
    let port = receiver.base.rsplit(':').next().unwrap();
    for host in INSIDE {
        let url = format!("http://{host}:{port}/hook");
        let new = json!({ "name": "Inside", "url": url, "events": ["contact.created"] });
        tenant.admin.post(HOOKS, new).await.names_fields(&["url"]);
        tenant.admin.patch(&made.path(), json!({ "url": url })).await.names_fields(&["url"]);
    }
    let left = tenant.admin.get(HOOKS).await.expect(StatusCode::OK);
    assert_eq!((left.as_array().unwrap().len(), &left[0]["url"]), (1, &json!("https://hooks.example.com/")));
}

#[tokio::test]
async fn a_private_address_that_was_written_down_is_not_connected_to() {
    let (mut server, receiver) = (Server::start().await, Receiver::start().await);
    let tenant = server.tenant().await;
    let port = receiver.base.rsplit(':').next().unwrap().to_owned();
    let mut hooks = Vec::new();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"] {
        hooks.push(hook(&tenant.admin, &format!("http://{host}:{port}/hook"), &["contact.created"]).await);
    }
    server.env.insert(GUARDED.0.to_owned(), GUARDED.1.to_owned());
    server.restart("serve", || ()).await;
    let mut admin = tenant.admin.clone();
    admin.base.clone_from(&server.process.base);
    for made in &hooks {
        let tested = admin.post(&format!("{}/test", made.path()), json!({})).await.expect(StatusCode::OK);
        assert_eq!((&tested["status"], tested.get("http_status")), (&json!("failed"), Some(&json!(null))));
        assert!(tested["error_message"].as_str().is_some_and(|error| error.contains("private")), "{tested}");
    }
    assert!(receiver.deliveries().is_empty());
}
