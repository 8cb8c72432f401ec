//! Which agent of a division gets a conversation that nobody holds.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{change_agents, division};
use crate::support::graph::Graph;
use crate::support::whatsapp::{Number, conversation_with, customer};
use crate::support::{Client, Server, Tenant, eventually, id_of};

/// A tenant whose number belongs to a division of so many agents, all of them online.
struct Team {
    tenant: Tenant,
    division: Uuid,
    number: Number,
    /// By id, which breaks the last ties.
    agents: Vec<Uuid>,
    /// The number of another division, whose only agent gets whatever arrives there.
    bell: Number,
    server: Server,
    _graph: Graph,
}

impl Team {
    async fn of(agents: usize, allocation_method: &str) -> Self {
        let graph = Graph::start().await;
        let server = Server::start_with(&[("META_API_URL", &graph.base)]).await;
        let tenant = server.tenant().await;
        let (division, number, agents) = staffed(&tenant, "Sales", allocation_method, agents).await;
        let (_, bell, _) = staffed(&tenant, "Bell", "round_robin", 1).await;
        Self { tenant, division, number, agents, bell, server, _graph: graph }
    }

    fn admin(&self) -> &Client {
        &self.tenant.admin
    }

    async fn set_online(&self, agent: Uuid, is_online: bool) {
        set_online(&self.tenant, agent, is_online).await;
    }

    async fn set(&self, conversation: Uuid, what: &str, body: Value) {
        let path = format!("/api/conversations/{conversation}/{what}");
        self.admin().patch(&path, body).await.expect(StatusCode::OK);
    }

    /// Somebody new writes; answers the conversation.
    async fn hear(&self) -> Uuid {
        self.hear_from(&customer()).await
    }

    async fn hear_from(&self, from: &str) -> Uuid {
        self.number.hear(from, "Halo").await;
        id_of(&conversation_with(self.admin(), from).await)
    }

    /// Somebody new writes; answers who gets the conversation.
    async fn next(&self) -> Uuid {
        let conversation = self.hear().await;
        self.given(conversation).await
    }

    async fn agent_of(&self, conversation: Uuid) -> Option<Uuid> {
        let path = format!("/api/conversations/{conversation}");
        let shown = self.admin().get(&path).await.expect(StatusCode::OK);
        shown["assigned_agent_id"].as_str().and_then(|id| id.parse().ok())
    }

    /// Waits until somebody has the conversation.
    async fn given(&self, conversation: Uuid) -> Uuid {
        eventually("the conversation is handed out", || self.agent_of(conversation)).await
    }

    /// Waits until everything that happened before has been considered: conversations are handed out in the order of
    /// the log, and this one certainly is.
    async fn ring(&self) {
        let from = customer();
        self.bell.hear(&from, "Ding").await;
        self.given(id_of(&conversation_with(self.admin(), &from).await)).await;
    }
}

/// A division with agents who are online, and a number of its own.
async fn staffed(tenant: &Tenant, name: &str, method: &str, agents: usize) -> (Uuid, Number, Vec<Uuid>) {
    let id = division(&tenant.admin, json!({ "name": name, "allocation_method": method })).await;
    let number = Number::connect(tenant).await;
    let account = format!("/api/integration-accounts/{}", number.account_id);
    tenant.admin.patch(&account, json!({ "division_id": id })).await.expect(StatusCode::OK);
    let mut members = Vec::new();
    for _ in 0..agents {
        members.push(tenant.agent("agent").await.1);
    }
    members.sort();
    change_agents(&tenant.admin, Method::POST, id, &members).await.expect(StatusCode::OK);
    for agent in &members {
        set_online(tenant, *agent, true).await;
    }
    (id, number, members)
}

async fn set_online(tenant: &Tenant, agent: Uuid, is_online: bool) {
    let path = format!("/api/agents/{agent}/status");
    tenant.admin.patch(&path, json!({ "is_online": is_online })).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn where_people_pick_nobody_is_given_anything() {
    let team = Team::of(1, "manual").await;
    let waiting = team.hear().await;
    team.ring().await;
    assert_eq!(team.agent_of(waiting).await, None);
}

#[tokio::test]
async fn everyone_online_has_a_turn_the_longest_idle_first() {
    let team = Team::of(3, "round_robin").await;
    team.set_online(team.agents[1], false).await;
    let [first, offline, last] = team.agents[..] else { panic!("three agents") };
    // Nobody had one yet: by id. Then whoever waits longest.
    assert_eq!((team.next().await, team.next().await, team.next().await), (first, last, first));
    // Who comes online late has been idle longest.
    team.set_online(offline, true).await;
    assert_eq!((team.next().await, team.next().await), (offline, last));
    // Being given one by hand is a turn as well.
    let given = team.hear().await;
    team.given(given).await;
    team.set(given, "assign", json!({ "agent_id": offline })).await;
    assert_eq!(team.next().await, last);
}

#[tokio::test]
async fn the_least_busy_gets_the_next_and_the_longest_idle_of_equals() {
    let team = Team::of(2, "least_busy").await;
    let [first, second] = team.agents[..] else { panic!("two agents") };
    let one = team.hear().await;
    assert_eq!(team.given(one).await, first);
    assert_eq!(team.next().await, second);
    // One each: the first has been idle for longer.
    assert_eq!(team.next().await, first);
    assert_eq!(team.next().await, second);
    // Two each. What is resolved or waits for the customer is no work.
    team.set(one, "status", json!({ "status": "resolved" })).await;
    assert_eq!(team.next().await, first);
    let held: Vec<Uuid> = {
        let path = format!("/api/conversations?assigned_agent_id={second}");
        let page = team.admin().get(&path).await.expect(StatusCode::OK);
        page["conversations"].as_array().unwrap().iter().map(id_of).collect()
    };
    for conversation in held {
        team.set(conversation, "status", json!({ "status": "pending" })).await;
    }
    assert_eq!((team.next().await, team.next().await), (second, second));
}

#[tokio::test]
async fn with_nobody_online_it_waits_in_the_queue_until_someone_comes() {
    let team = Team::of(1, "round_robin").await;
    team.set_online(team.agents[0], false).await;
    let waiting = team.hear().await;
    team.ring().await;
    assert_eq!(team.agent_of(waiting).await, None);
    team.set_online(team.agents[0], true).await;
    assert_eq!(team.given(waiting).await, team.agents[0]);
    // Switched off, a division hands nothing out, whoever comes.
    let path = format!("/api/divisions/{}", team.division);
    team.admin().patch(&path, json!({ "is_active": false })).await.expect(StatusCode::OK);
    let second = team.hear().await;
    team.set_online(team.agents[0], false).await;
    team.set_online(team.agents[0], true).await;
    team.ring().await;
    assert_eq!(team.agent_of(second).await, None);
}

#[tokio::test]
async fn who_comes_online_gets_what_waits_and_nothing_that_is_done_or_waits_for_the_customer() {
    let team = Team::of(2, "round_robin").await;
    for agent in &team.agents {
        team.set_online(*agent, false).await;
    }
    let (first, pending, resolved, last) =
        (team.hear().await, team.hear().await, team.hear().await, team.hear().await);
    team.set(pending, "status", json!({ "status": "pending" })).await;
    team.set(resolved, "status", json!({ "status": "resolved" })).await;
    let outsider = team.tenant.agent("agent").await.1;
    team.set_online(outsider, true).await;
    team.ring().await;
    assert_eq!(team.agent_of(first).await, None, "of another team");
    team.set_online(team.agents[1], true).await;
    assert_eq!(team.given(first).await, team.agents[1]);
    assert_eq!(team.given(last).await, team.agents[1]);
    team.set_online(team.agents[0], true).await;
    team.ring().await;
    assert_eq!((team.agent_of(pending).await, team.agent_of(resolved).await), (None, None));
    assert_eq!(team.agent_of(first).await, Some(team.agents[1]), "nobody loses what they have");
}

#[tokio::test]
async fn what_reopens_stays_with_an_agent_who_is_online_and_leaves_one_who_is_not() {
    let team = Team::of(2, "round_robin").await;
    let from = customer();
    let conversation = team.hear_from(&from).await;
    let holder = team.given(conversation).await;
    let other = *team.agents.iter().find(|agent| **agent != holder).expect("two agents");
    team.set(conversation, "status", json!({ "status": "resolved" })).await;
    team.hear_from(&from).await;
    team.ring().await;
    assert_eq!(team.agent_of(conversation).await, Some(holder));

    team.set(conversation, "status", json!({ "status": "resolved" })).await;
    team.set_online(holder, false).await;
    team.hear_from(&from).await;
    eventually("it is handed to somebody else", || async {
        (team.agent_of(conversation).await == Some(other)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_moved_into_a_division_is_handed_out_there_unless_somebody_has_it() {
    let team = Team::of(1, "round_robin").await;
    let number = Number::connect(&team.tenant).await;
    let (from, another) = (customer(), customer());
    for from in [&from, &another] {
        number.hear(from, "Halo").await;
    }
    let loose = id_of(&conversation_with(team.admin(), &from).await);
    let held = id_of(&conversation_with(team.admin(), &another).await);
    let (_, holder) = team.tenant.agent("agent").await;
    team.set(held, "assign", json!({ "agent_id": holder })).await;
    let moved =
        json!({ "action": "transfer", "conversation_ids": [held, loose], "division_id": team.division });
    team.admin().post("/api/conversations/bulk", moved).await.expect(StatusCode::OK);
    assert_eq!(team.given(loose).await, team.agents[0]);
    assert_eq!(team.agent_of(held).await, Some(holder), "offline, and still somebody's decision");
}

#[tokio::test]
async fn one_that_can_not_be_handed_out_holds_up_no_other() {
    let team = Team::of(1, "round_robin").await;
    team.set_online(team.agents[0], false).await;
    let (stuck, next) = (team.hear().await, team.hear().await);
    let mut sql = team.server.sql().await;
    let refuse = format!(
        "RESET ROLE; ALTER TABLE events ADD CONSTRAINT stuck
         CHECK (stream_id <> '{stuck}' OR event_type <> 'conversation.assigned')"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(refuse)).execute(&mut sql).await.expect("the constraint");
    team.set_online(team.agents[0], true).await;
    assert_eq!(team.given(next).await, team.agents[0]);
    assert_eq!(team.next().await, team.agents[0]);
    assert_eq!(team.agent_of(stuck).await, None);
    sqlx::query("ALTER TABLE events DROP CONSTRAINT stuck").execute(&mut sql).await.expect("it is gone");
    assert_eq!(team.given(stuck).await, team.agents[0]);
}
