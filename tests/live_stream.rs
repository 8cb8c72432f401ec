//! A tenant's events as they happen.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Client, PATIENCE, Server, command, id_of};

struct Live {
    response: reqwest::Response,
    buffer: String,
}

#[derive(Debug, PartialEq)]
struct Told {
    id: String,
    event: String,
    data: Value,
}

impl Live {
    async fn open(client: &Client, query: &str, after: Option<&str>) -> Self {
        let mut request = client.request(Method::GET, &format!("/api/stream{query}"));
        if let Some(id) = after {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, buffer: String::new() }
    }

    /// The next event; `None` once the stream has ended.
    async fn next(&mut self) -> Option<Told> {
        loop {
            while let Some((block, rest)) = self.buffer.split_once("\n\n") {
                let field = |name: &str| {
                    let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                    line.map(|value| value.trim_start().to_owned())
                };
                let told = field("data").map(|data| Told {
                    id: field("id").unwrap_or_default(),
                    event: field("event").unwrap_or_default(),
                    data: serde_json::from_str(&data).expect("JSON"),
                });
                self.buffer = rest.to_owned();
                if told.is_some() {
                    return told;
                }
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk())
                .await
                .expect("the stream says something");
            self.buffer += std::str::from_utf8(&chunk.ok()??).expect("text");
        }
    }

    /// The next event that has this name in its payload.
    async fn next_name(&mut self) -> Value {
        self.next().await.expect("an event")["name"].clone()
    }
}

impl std::ops::Index<&str> for Told {
    type Output = Value;

    fn index(&self, field: &str) -> &Value {
        &self.data["payload"][field]
    }
}

async fn create_role(client: &Client, name: &str) -> String {
    let role = json!({ "name": name, "permissions": [] });
    let created = client.post("/api/roles", role).await;
    created.expect(StatusCode::CREATED);
    created.header("x-event-position").expect("a position").to_owned()
}

#[tokio::test]
async fn events_are_told_as_they_happen_and_as_history_shows_them() {
    let server = Server::start().await;
    let (tenant, other) = (server.tenant().await, server.tenant().await);
    create_role(&tenant.admin, "before").await;
    let mut live = Live::open(&tenant.admin, "", None).await;
    create_role(&other.admin, "elsewhere").await;
    let mut expected = Vec::new();
    for n in 0..30 {
        expected.push(create_role(&tenant.admin, &format!("role-{n}")).await);
    }
    for (n, position) in expected.iter().enumerate() {
        let told = live.next().await.expect("an event");
        assert_eq!((&told.id, told.event.as_str()), (position, "role.created"));
        assert_eq!(told["name"], format!("role-{n}"));
        let path = format!("/api/events/{}", told.data["event_id"].as_str().unwrap());
        assert_eq!(tenant.admin.get(&path).await.expect(StatusCode::OK), told.data);
    }
}

/// Whoever asks because of an event sees what it says.
#[tokio::test]
async fn an_event_is_told_when_reads_show_it() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let mut live = Live::open(&tenant.admin, "?types=role.created", None).await;
    for n in 0..20 {
        let role = json!({ "name": format!("role-{n}"), "permissions": [] });
        let hasty = tenant.admin.with_header("prefer", "respond-async");
        hasty.post("/api/roles", role).await;
        let told = live.next().await.expect("an event");
        let path = format!("/api/roles/{}", told.data["stream_id"].as_str().unwrap());
        tenant.admin.get(&path).await.expect(StatusCode::OK);
    }
}

#[tokio::test]
async fn a_stream_is_resumed_without_a_gap_or_a_repetition() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let first = create_role(&tenant.admin, "first").await;
    for n in 0..250 {
        // More than one page of catching up.
        create_role(&tenant.admin, &format!("role-{n}")).await;
    }
    let mut live = Live::open(&tenant.admin, "", Some(&first)).await;
    create_role(&tenant.admin, "last").await;
    for n in 0..250 {
        assert_eq!(live.next_name().await, format!("role-{n}"));
    }
    assert_eq!(live.next_name().await, "last");
    let answer =
        tenant.admin.request(Method::GET, "/api/stream").header("last-event-id", "x").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn types_are_filtered() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let start = create_role(&tenant.admin, "start").await;
    let id = id_of(
        &tenant
            .admin
            .post("/api/roles", json!({ "name": "a", "permissions": [] }))
            .await
            .expect(StatusCode::CREATED),
    );
    tenant.admin.patch(&format!("/api/roles/{id}"), json!({ "name": "b" })).await.expect(StatusCode::OK);
    let mut live = Live::open(&tenant.admin, "?types=role.updated,role.deleted", Some(&start)).await;
    assert_eq!(live.next().await.unwrap().event, "role.updated");
    create_role(&tenant.admin, "c").await;
    tenant.admin.delete(&format!("/api/roles/{id}")).await.expect(StatusCode::OK);
    assert_eq!(live.next().await.unwrap().event, "role.deleted");
}

#[tokio::test]
async fn an_agent_listens_but_reads_no_old_history() {
    let server = Server::start_with(&[]).await;
    let tenant = server.tenant().await;
    create_role(&tenant.admin, "old").await;
    sqlx::query("UPDATE events SET recorded_at = recorded_at - interval '2 hours'")
        .execute(&mut owner(&server).await)
        .await
        .unwrap();
    let (agent, _) = tenant.agent("agent").await;
    agent.get("/api/events").await.problem(403, "forbidden");
    let mut live = Live::open(&agent, "?types=role.created", Some("0")).await;
    create_role(&tenant.admin, "new").await;
    let gap = live.next().await.unwrap();
    assert_eq!((gap.event.as_str(), gap.id.as_str(), &gap.data["after"]), ("gap", "", &json!(0)));
    assert_eq!(live.next_name().await, "new");
    let mut auditor = Live::open(&tenant.admin, "?types=role.created", Some("0")).await;
    assert_eq!(auditor.next_name().await, "old");
}

async fn owner(server: &Server) -> sqlx::PgConnection {
    <sqlx::PgConnection as sqlx::Connection>::connect(&server.database.owner_url).await.unwrap()
}

#[tokio::test]
async fn a_stream_ends_with_its_session() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let (agent, _) = tenant.agent("agent").await;
    let mut live = Live::open(&agent, "?types=role.created", None).await;
    create_role(&tenant.admin, "one").await;
    assert_eq!(live.next_name().await, "one");
    agent.post("/api/auth/logout", json!({})).await.expect(StatusCode::OK);
    create_role(&tenant.admin, "two").await;
    assert_eq!(live.next().await, None);
    let answer = agent.get("/api/stream").await;
    answer.problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_stream_ends_when_the_program_stops() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let url = server.database.owner_url.clone();
    let mut child =
        command(&url, &server.env).arg("api").stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.as_mut().unwrap()), &mut line)
        .unwrap();
    let base = line.trim().strip_prefix("Listening on ").expect("an address").to_owned();
    let mut second = tenant.admin.clone();
    second.base = base;
    let mut live = Live::open(&second, "", None).await;
    // Written through one process, told by the other.
    create_role(&tenant.admin, "one").await;
    assert_eq!(live.next_name().await, "one");
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(live.next().await, None);
    let ended = tokio::task::spawn_blocking(move || child.wait());
    let ended =
        tokio::time::timeout(Duration::from_secs(10), ended).await.expect("an open stream holds nothing up");
    assert!(ended.unwrap().unwrap().success());
}
