//! A tenant's history: replay, one event, one stream, and its state at any time.

use std::collections::BTreeSet;

use commands::store::{Append, Expected, NewEvent, StreamAppend};
use domain::canonical;
use domain::event::{Actor, Metadata};
use domain::personal::Personal;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::projections::open;
use crate::support::{Client, Server, Tenant, id_of};

async fn create_role(client: &Client, name: &str) -> Value {
    let role = json!({ "name": name, "permissions": ["audit.view"] });
    client.post("/api/roles", role).await.expect(StatusCode::CREATED)
}

async fn events(client: &Client, query: &str) -> Vec<Value> {
    let page = client.get(&format!("/api/events?{query}")).await.expect(StatusCode::OK);
    page["events"].as_array().expect("events").clone()
}

/// An auditor who may not read personal data.
async fn auditor(tenant: &Tenant) -> Client {
    create_role(&tenant.admin, "auditor").await;
    tenant.agent("auditor").await.0
}

fn positions(events: &[Value]) -> Vec<i64> {
    events.iter().map(|e| e["position"].as_i64().expect("a position")).collect()
}

/// A contact named Siti, as the log would have it from a webhook.
async fn contact(server: &Server, tenant: &Tenant) -> Uuid {
    let (store, id) = (open(&server.database.owner_url).await, Uuid::new_v4());
    let profile = json!({ "address": "628123", "name": "Siti" });
    let payload = json!({ "channel": "whatsapp", "profile": Personal::new(id, profile) });
    let event = NewEvent { event_type: "contact.created".to_owned(), schema_version: 1, payload };
    let stream = StreamAppend {
        stream_type: "contact",
        stream_id: id,
        expected: Expected::Version(0),
        events: vec![event],
    };
    let append = Append {
        tenant_id: tenant.id,
        command_id: Uuid::new_v4(),
        metadata: Metadata::new(Actor::system(), Uuid::new_v4()),
        streams: vec![stream],
        claims: Vec::new(),
        releases: Vec::new(),
    };
    store.append(append).await.expect("appended");
    id
}

#[tokio::test]
async fn history_is_replayed_in_order_page_by_page() {
    let server = Server::start().await;
    let (tenant, other) = (server.tenant().await, server.tenant().await);
    for n in 0..5 {
        create_role(&tenant.admin, &format!("role-{n}")).await;
        create_role(&other.admin, &format!("role-{n}")).await;
    }
    let all = events(&tenant.admin, "").await;
    assert!(all.iter().all(|e| e["tenant_id"] == json!(tenant.id)));
    assert!(positions(&all).is_sorted() && all.len() >= 6, "{all:?}");
    let (mut paged, mut after) = (Vec::new(), "0".to_owned());
    loop {
        let page =
            tenant.admin.get(&format!("/api/events?limit=2&after={after}")).await.expect(StatusCode::OK);
        paged.extend(page["events"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(cursor) => after = cursor.to_owned(),
            None => break,
        }
    }
    assert_eq!(paged, all);
    // A cursor never skips what is added behind it.
    create_role(&tenant.admin, "late").await;
    let last = positions(&all).pop().unwrap();
    let news = events(&tenant.admin, &format!("after={last}")).await;
    assert_eq!((news.len(), &news[0]["payload"]["name"]), (1, &json!("late")));
}

#[tokio::test]
async fn every_filter_holds() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let (supervisor, supervisor_id) = tenant.agent("supervisor").await;
    let role = create_role(&tenant.admin, "one").await;
    let path = format!("/api/roles/{}", id_of(&role));
    let changed = tenant.admin.patch(&path, json!({ "description": "changed" })).await;
    let correlation = changed.header("x-request-id").unwrap().to_owned();
    create_role(&tenant.admin, "two").await;
    let all = events(&tenant.admin, "").await;
    let only = |keep: &dyn Fn(&Value) -> bool| all.iter().filter(|e| keep(e)).cloned().collect::<Vec<_>>();

    let of_type = events(&tenant.admin, "event_type=role.created").await;
    assert_eq!(of_type, only(&|e| e["event_type"] == "role.created"));
    assert_eq!(of_type.len(), 2);
    let of_stream = events(&tenant.admin, &format!("stream_id={}", id_of(&role))).await;
    assert_eq!(of_stream.iter().map(|e| e["version"].as_i64().unwrap()).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(events(&tenant.admin, "stream_type=role").await.len(), 3);
    let of_request = events(&tenant.admin, &format!("correlation_id={correlation}")).await;
    assert_eq!(of_request, only(&|e| e["metadata"]["correlation_id"] == json!(correlation)));
    assert_eq!((of_request.len(), &of_request[0]["event_type"]), (1, &json!("role.updated")));
    let of_actor = events(&tenant.admin, &format!("actor_id={supervisor_id}")).await;
    assert_eq!(of_actor, only(&|e| e["metadata"]["actor"]["id"] == json!(supervisor_id)));
    let by_nobody = events(&tenant.admin, &format!("actor_id={}", Uuid::nil())).await;
    assert_eq!(by_nobody, only(&|e| e["metadata"]["actor"]["id"] == json!(Uuid::nil())));

    for boundary in &all {
        let at = boundary["recorded_at"].as_str().unwrap();
        let time =
            |e: &Value| e["recorded_at"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
        let encoded = at.replace('+', "%2B").replace(':', "%3A");
        assert_eq!(
            events(&tenant.admin, &format!("from={encoded}")).await,
            only(&|e| time(e) >= time(boundary))
        );
        assert_eq!(
            events(&tenant.admin, &format!("to={encoded}")).await,
            only(&|e| time(e) < time(boundary))
        );
    }
    assert_eq!(events(&tenant.admin, "from=2100-01-01T00:00:00Z").await, [Value::Null; 0]);
    let both =
        events(&tenant.admin, "stream_type=role&event_type=role.created&from=2000-01-01T00:00:00Z&limit=1")
            .await;
    assert_eq!(both.len(), 1);
    supervisor.get("/api/events").await.expect(StatusCode::OK);
}

#[tokio::test]
async fn bad_parameters_are_named() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("after=-1", "after"),
        ("from=monday", "from"),
        ("actor_id=7", "actor_id"),
        ("kind=role", "kind"),
    ] {
        tenant.admin.get(&format!("/api/events?{query}")).await.names_fields(&[field]);
    }
    let state = format!("/api/streams/role/{}/state", Uuid::new_v4());
    tenant.admin.get(&format!("{state}?version=1&at=2026-01-01T00:00:00Z")).await.names_fields(&["at"]);
    tenant.admin.get(&format!("{state}?version=0")).await.names_fields(&["version"]);
    tenant.admin.get("/api/audit/verify?from=5&to=4").await.names_fields(&["to"]);
}

/// Computed here as SEMANTICS says it, from nothing but what the API shows.
#[tokio::test]
async fn an_event_carries_its_proof() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let role = create_role(&tenant.admin, "one").await;
    let path = format!("/api/roles/{}", id_of(&role));
    tenant.admin.patch(&path, json!({ "name": "two" })).await.expect(StatusCode::OK);
    let mut previous = vec![0_u8; 32];
    for event in events(&tenant.admin, &format!("stream_id={}", id_of(&role))).await {
        let payload_hash = Sha256::digest(canonical::to_string(&event["payload"]));
        assert_eq!(event["payload_hash"], hex::encode(payload_hash));
        let names = [
            "tenant_id",
            "stream_type",
            "stream_id",
            "version",
            "event_type",
            "schema_version",
            "event_id",
            "metadata",
        ];
        let mut header: serde_json::Map<_, _> =
            names.iter().map(|name| ((*name).to_owned(), event[*name].clone())).collect();
        let at: chrono::DateTime<chrono::Utc> = event["recorded_at"].as_str().unwrap().parse().unwrap();
        header.insert("recorded_at".to_owned(), json!(canonical::timestamp(at)));
        let chained = Sha256::new()
            .chain_update(&previous)
            .chain_update(payload_hash)
            .chain_update(canonical::to_string(&header));
        previous = chained.finalize().to_vec();
        assert_eq!(event["chain_hash"], hex::encode(&previous));
        let found = tenant.admin.get(&format!("/api/events/{}", event["event_id"].as_str().unwrap())).await;
        assert_eq!(found.expect(StatusCode::OK), event);
    }
}

#[tokio::test]
async fn another_tenants_history_does_not_exist() {
    let server = Server::start().await;
    let (tenant, other) = (server.tenant().await, server.tenant().await);
    let role = id_of(&create_role(&tenant.admin, "secret-plan").await);
    let event = events(&tenant.admin, &format!("stream_id={role}")).await.remove(0);
    for path in [
        format!("/api/events/{}", event["event_id"].as_str().unwrap()),
        format!("/api/streams/role/{role}"),
        format!("/api/streams/role/{role}/state"),
    ] {
        tenant.admin.get(&path).await.expect(StatusCode::OK);
        other.admin.get(&path).await.problem(404, "not_found");
    }
    assert_eq!(events(&other.admin, &format!("stream_id={role}")).await.len(), 0);
    let seen: BTreeSet<_> =
        events(&other.admin, "").await.iter().map(|e| e["tenant_id"].to_string()).collect();
    assert_eq!(seen, BTreeSet::from([json!(other.id).to_string()]));
}

#[tokio::test]
async fn only_auditors_read_history() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let (agent, _) = tenant.agent("agent").await;
    for path in ["/api/events", "/api/audit/verify", &format!("/api/streams/agent/{}", Uuid::new_v4())] {
        agent.get(path).await.problem(403, "forbidden");
        server.client().get(path).await.problem(401, "unauthenticated");
    }
    auditor(&tenant).await.get("/api/events").await.expect(StatusCode::OK);
}

#[tokio::test]
async fn personal_data_is_opened_only_for_those_who_may_read_it() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let (auditor, contact) = (auditor(&tenant).await, contact(&server, &tenant).await);
    let opened = events(&tenant.admin, &format!("stream_id={contact}")).await.remove(0);
    assert_eq!(opened["opened"]["profile"]["name"], "Siti");
    let envelope = &opened["payload"]["profile"];
    assert!(envelope["sealed"].is_string() && envelope["subject"] == json!(contact), "{opened}");
    let sealed = events(&auditor, &format!("stream_id={contact}")).await.remove(0);
    assert_eq!((&sealed["payload"], &sealed["opened"]), (&opened["payload"], &Value::Null));
    let state = format!("/api/streams/contact/{contact}/state");
    let clear = tenant.admin.get(&state).await.expect(StatusCode::OK);
    assert_eq!(clear["state"]["profile"]["name"], "Siti");
    let hidden = auditor.get(&state).await;
    assert_eq!(hidden.expect(StatusCode::OK)["state"]["profile"], Value::Null);
    assert!(!hidden.text.contains("Siti") && !hidden.text.contains("sealed"), "{}", hidden.text);
}

#[tokio::test]
async fn a_stream_has_a_history_and_a_state_at_every_version() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let role = id_of(&create_role(&tenant.admin, "first").await);
    let path = format!("/api/roles/{role}");
    tenant.admin.patch(&path, json!({ "name": "second" })).await.expect(StatusCode::OK);
    tenant.admin.delete(&path).await.expect(StatusCode::OK);
    let stream = format!("/api/streams/role/{role}");
    let history = tenant.admin.get(&format!("{stream}?limit=2")).await.expect(StatusCode::OK);
    assert_eq!((&history["version"], &history["next_cursor"]), (&json!(3), &json!("2")));
    let rest = tenant.admin.get(&format!("{stream}?after=2")).await.expect(StatusCode::OK);
    assert_eq!(
        (rest["events"].as_array().unwrap().len(), &rest["events"][0]["event_type"]),
        (1, &json!("role.deleted"))
    );
    assert_eq!(rest["next_cursor"], Value::Null);

    let state = async |query: &str| tenant.admin.get(&format!("{stream}/state{query}")).await;
    for (query, version, name) in
        [("?version=1", 1, json!("first")), ("?version=2", 2, json!("second")), ("", 3, Value::Null)]
    {
        let state = state(query).await.expect(StatusCode::OK);
        assert_eq!(
            (&state["version"], &state["state"]["name"], &state["exists"]),
            (&json!(version), &name, &json!(version < 3))
        );
    }
    state("?version=4").await.problem(404, "not_found");
    for event in history["events"].as_array().unwrap() {
        let at = event["recorded_at"].as_str().unwrap().replace('+', "%2B");
        let then = state(&format!("?at={at}")).await.expect(StatusCode::OK);
        assert_eq!((&then["version"], &then["as_of"]), (&event["version"], &event["recorded_at"]));
        assert_eq!(then["state"]["name"], event["payload"]["name"]);
    }
    state("?at=2020-01-01T00:00:00Z").await.problem(404, "not_found");
    tenant.admin.get(&format!("/api/streams/agent/{role}")).await.problem(404, "not_found");
    tenant.admin.get(&format!("/api/streams/nonsense/{role}/state")).await.problem(404, "not_found");
    tenant.admin.get(&format!("/api/streams/role/{}", Uuid::new_v4())).await.problem(404, "not_found");
}

#[tokio::test]
async fn a_state_never_shows_a_credential() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let (_, agent) = tenant.agent("agent").await;
    let state = tenant.admin.get(&format!("/api/streams/agent/{agent}/state")).await;
    let shown = state.expect(StatusCode::OK);
    assert_eq!(
        (&shown["state"]["full_name"], &shown["state"]["password_hash"]),
        (&json!("Budi"), &Value::Null)
    );
    assert!(!state.text.contains("sealed") && !state.text.contains("argon2"), "{}", state.text);
}

#[tokio::test]
async fn the_command_line_shows_and_exports_the_log() {
    let server = Server::start().await;
    let (tenant, other) = (server.tenant().await, server.tenant().await);
    let contact = contact(&server, &tenant).await;
    create_role(&other.admin, "elsewhere").await;
    let role = id_of(&create_role(&tenant.admin, "here").await);
    let event = events(&tenant.admin, &format!("stream_id={role}")).await.remove(0);
    let (text, ok) = server.run(&["events", "tail", "-n", "1", "--tenant", &tenant.id.to_string()]);
    assert!(
        ok && text.lines().count() == 1 && text.contains("role.created") && text.contains(&role.to_string()),
        "{text}"
    );
    let (text, ok) = server.run(&["events", "show", event["event_id"].as_str().unwrap()]);
    let shown: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert!(ok && shown["chain_hash"] == event["chain_hash"], "{text}");
    let (text, ok) = server.run(&["events", "show", &Uuid::new_v4().to_string()]);
    assert!(!ok && text.contains("there is no event"), "{text}");

    let export = |extra: &[&str]| {
        let id = tenant.id.to_string();
        let (text, ok) = server.run(&[&["events", "export", "--tenant", &id], extra].concat());
        assert!(ok, "{text}");
        let lines = text.lines().filter(|line| line.starts_with('{'));
        lines.map(|line| serde_json::from_str::<Value>(line).expect("an event")).collect::<Vec<_>>()
    };
    let all = events(&tenant.admin, "limit=1000").await;
    let exported = export(&[]);
    assert_eq!(positions(&exported), positions(&all));
    assert!(exported.iter().all(|e| e["opened"].is_null()), "sealed unless asked for");
    let opened = export(&["--open"]);
    assert_eq!(opened, all);
    assert!(
        opened.iter().any(|e| e["stream_id"] == json!(contact) && e["opened"]["profile"]["name"] == "Siti")
    );
    let (text, ok) = server.run(&["events", "export", "--tenant", &Uuid::new_v4().to_string()]);
    assert!(!ok && text.contains("there is no tenant"), "{text}");
}
