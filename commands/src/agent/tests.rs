use domain::event::Context;

use super::*;

const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;
const ID: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);
const SESSION: Uuid = Uuid::from_u128(3);

fn secret(value: &str) -> Secret {
    Secret::new(Uuid::nil(), value)
}

fn new(role: &str) -> NewAgent {
    NewAgent {
        email: "ani@toko.id".to_owned(),
        full_name: "Ani".to_owned(),
        role: role.to_owned(),
        password_hash: secret("hash"),
    }
}

fn existing(role: &str) -> Agent {
    after(Agent::default(), &create_first(&Agent::default(), ID, &new(role)))
}

fn after(mut agent: Agent, decision: &Decision<AgentEvent>) -> Agent {
    let context = Context { stream_id: ID, version: 1, at: NOW };
    decision.events.iter().for_each(|event| agent.evolve(event, context));
    agent
}

fn scopes(claims: &[crate::store::Claim]) -> Vec<&str> {
    claims.iter().map(|claim| claim.scope).collect()
}

#[test]
fn a_new_agent_claims_its_address_and_a_seat() {
    let created =
        create(&Agent::default(), ID, &new("agent"), &Limits::default(), &Staff::of(4, &[OTHER])).unwrap();
    assert_eq!(scopes(&created.claims), ["email", "agent_seat"]);
    assert_eq!(created.claims[0].key, "ani@toko.id");
    let admin = create_first(&Agent::default(), ID, &new("admin"));
    assert_eq!(scopes(&admin.claims), ["email", "agent_seat", "agent_admin"]);
}

#[test]
fn the_last_seat_is_given_once_and_the_next_is_refused() {
    let limits = Limits::free_tier();
    let last = create(&Agent::default(), ID, &new("agent"), &limits, &Staff::of(9, &[OTHER])).unwrap();
    assert_eq!(scopes(&last.claims), ["email", "agent_seat", "staff_edition"]);
    let refused =
        create(&Agent::default(), ID, &new("agent"), &limits, &Staff::of(10, &[OTHER])).unwrap_err();
    assert_eq!(refused.code, "limit_reached");
    assert!(refused.detail.contains("max_agents"), "{}", refused.detail);
}

#[test]
fn a_repeated_creation_is_nothing_even_when_the_seats_are_gone() {
    let repeated =
        create(&existing("agent"), ID, &new("agent"), &Limits::free_tier(), &Staff::of(10, &[OTHER]));
    assert!(repeated.unwrap().is_nothing());
}

#[test]
fn an_update_says_only_what_is_different() {
    let same = Change {
        email: Some("ani@toko.id".to_owned()),
        full_name: Some("Ani".to_owned()),
        role: Some("agent".to_owned()),
        password_hash: None,
    };
    assert!(update(&existing("agent"), ID, &same, &Staff::of(2, &[OTHER])).unwrap().is_nothing());
    let renamed = Change { full_name: Some("Ani B".to_owned()), ..same };
    let decision = update(&existing("agent"), ID, &renamed, &Staff::of(2, &[OTHER])).unwrap();
    assert_eq!(decision.events, [AgentEvent::Renamed { full_name: "Ani B".to_owned() }]);
}

#[test]
fn a_changed_address_gives_the_old_one_back() {
    let change = Change { email: Some("new@toko.id".to_owned()), ..Change::default() };
    let decision = update(&existing("agent"), ID, &change, &Staff::of(2, &[OTHER])).unwrap();
    assert_eq!(
        (decision.claims[0].key.as_str(), decision.releases[0].key.as_str()),
        ("new@toko.id", "ani@toko.id")
    );
}

#[test]
fn a_new_password_ends_every_session() {
    let signed_in = after(
        existing("agent"),
        &sign_in(&existing("agent"), &secret("hash"), SESSION, DateTime::<Utc>::MAX_UTC).unwrap(),
    );
    assert!(signed_in.sessions.holds(SESSION, NOW));
    let change = Change { password_hash: Some(secret("other")), ..Change::default() };
    let changed = after(signed_in.clone(), &update(&signed_in, ID, &change, &Staff::of(1, &[])).unwrap());
    assert!(!changed.sessions.holds(SESSION, NOW));
}

#[test]
fn the_last_admin_stays_and_stays_admin() {
    let demotion = Change { role: Some("agent".to_owned()), ..Change::default() };
    let alone = Staff::of(2, &[ID]);
    assert_eq!(update(&existing("admin"), ID, &demotion, &alone).unwrap_err().code, "last_admin");
    assert_eq!(delete(&existing("admin"), ID, &alone).unwrap_err().code, "last_admin");
}

#[test]
fn an_admin_with_a_colleague_may_go_if_nobody_else_goes_at_once() {
    let both = Staff::of(2, &[ID, OTHER]);
    let deleted = delete(&existing("admin"), ID, &both).unwrap();
    assert_eq!(scopes(&deleted.claims), ["staff_edition"]);
    assert_eq!(scopes(&deleted.releases), ["email", "agent_seat", "agent_admin", "staff_edition"]);
    let demotion = Change { role: Some("agent".to_owned()), ..Change::default() };
    let demoted = update(&existing("admin"), ID, &demotion, &both).unwrap();
    assert_eq!(scopes(&demoted.releases), ["agent_admin", "staff_edition"]);
}

#[test]
fn a_promoted_agent_counts_as_admin() {
    let promotion = Change { role: Some("admin".to_owned()), ..Change::default() };
    let promoted = update(&existing("agent"), ID, &promotion, &Staff::of(2, &[OTHER])).unwrap();
    assert_eq!(scopes(&promoted.claims), ["agent_admin"]);
}

#[test]
fn being_online_changes_once() {
    let online = after(existing("agent"), &set_online(&existing("agent"), true).unwrap());
    assert!(online.is_online);
    assert!(set_online(&online, true).unwrap().is_nothing());
    assert_eq!(set_online(&online, false).unwrap().events, [AgentEvent::WentOffline]);
    let suspended = Agent { is_suspended: true, ..existing("agent") };
    assert_eq!(set_online(&suspended, true).unwrap_err().code, "suspended");
}

#[test]
fn a_password_that_was_changed_meanwhile_starts_no_session() {
    let agent = existing("agent");
    assert_eq!(sign_in(&agent, &secret("old"), SESSION, NOW).unwrap_err().code, "forbidden");
    let suspended = Agent { is_suspended: true, ..existing("agent") };
    assert_eq!(sign_in(&suspended, &secret("hash"), SESSION, NOW).unwrap_err().code, "forbidden");
}

#[test]
fn a_session_ends_once() {
    let until = NOW + chrono::TimeDelta::hours(1);
    let signed_in =
        after(existing("agent"), &sign_in(&existing("agent"), &secret("hash"), SESSION, until).unwrap());
    let ended = sign_out(&signed_in, SESSION, NOW).unwrap();
    assert_eq!(ended.events, [AgentEvent::SignedOut { session_id: SESSION }]);
    assert!(sign_out(&after(signed_in, &ended), SESSION, NOW).unwrap().is_nothing());
}

#[test]
fn an_agent_that_does_not_exist_is_not_found() {
    let nobody = Agent::default();
    let staff = Staff::of(1, &[OTHER]);
    assert_eq!(update(&nobody, ID, &Change::default(), &staff).unwrap_err().code, "not_found");
    assert_eq!(delete(&nobody, ID, &staff).unwrap_err().code, "not_found");
    assert_eq!(set_online(&nobody, true).unwrap_err().code, "not_found");
}
