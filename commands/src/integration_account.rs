//! Decisions about connected senders, and what their settings may be.

pub mod config;

use domain::aggregate::Aggregate;
use domain::channel::Channel;
use domain::integration_account::{Config, IntegrationAccount, IntegrationAccountEvent};
use domain::refusal::Refusal;
use uuid::Uuid;

use crate::store::{Decision, Expected, Part};

pub use config::{Given, add_generated, configure, derived_key, is_secret, masked};

/// The claim on being the default account of a channel; its key is the channel, its owner the account.
pub const DEFAULT: &str = "default_account";

/// An account as it shall be.
#[derive(Clone, Debug)]
pub struct Definition {
    pub channel: Channel,
    pub account_key: String,
    pub display_name: String,
    pub is_active: bool,
    pub division_id: Option<Uuid>,
    pub config: Config,
}

/// What shall be different.
#[derive(Clone, Debug)]
pub struct Change<'a> {
    pub display_name: Option<&'a str>,
    pub is_active: Option<bool>,
    pub division_id: Option<Uuid>,
    pub account_key: String,
    pub config: Config,
}

/// Connects an account. `holder` is the channel's default account so far; the first of a channel becomes it.
///
/// # Errors
/// None; a default that changes in the same moment is found by the claim.
pub fn connect(
    state: &IntegrationAccount,
    id: Uuid,
    new: &Definition,
    holder: Option<Uuid>,
    make_default: bool,
) -> Result<Decision<IntegrationAccountEvent>, Refusal> {
    if state.exists() {
        return Ok(Decision::nothing());
    }
    let new = new.clone();
    let connected = Decision::one(IntegrationAccountEvent::Connected {
        channel: new.channel,
        account_key: new.account_key,
        display_name: new.display_name,
        is_active: new.is_active,
        division_id: new.division_id,
        config: new.config,
    });
    Ok(if make_default || holder.is_none() {
        taking_over(connected, id, new.channel, holder)
    } else {
        connected
    })
}

/// # Errors
/// When there is no such account.
pub fn update(
    state: &IntegrationAccount,
    change: &Change<'_>,
) -> Result<Decision<IntegrationAccountEvent>, Refusal> {
    require(state)?;
    let updated = IntegrationAccount {
        account_key: change.account_key.clone(),
        display_name: change.display_name.unwrap_or(&state.display_name).to_owned(),
        is_active: change.is_active.unwrap_or(state.is_active),
        division_id: change.division_id.or(state.division_id),
        config: change.config.clone(),
        ..state.clone()
    };
    if updated == *state {
        return Ok(Decision::nothing());
    }
    let IntegrationAccount { account_key, display_name, is_active, division_id, config, .. } = updated;
    Ok(Decision::one(IntegrationAccountEvent::Updated {
        account_key,
        display_name,
        is_active,
        division_id,
        config,
    }))
}

/// Two decisions about one account as one.
#[must_use]
pub fn together(
    mut first: Decision<IntegrationAccountEvent>,
    second: Decision<IntegrationAccountEvent>,
) -> Decision<IntegrationAccountEvent> {
    first.events.extend(second.events);
    first.claims.extend(second.claims);
    first.releases.extend(second.releases);
    first.also.extend(second.also);
    first
}

/// Moves the default of the channel here from `holder`.
///
/// # Errors
/// When there is no such account.
pub fn make_default(
    state: &IntegrationAccount,
    id: Uuid,
    holder: Option<Uuid>,
) -> Result<Decision<IntegrationAccountEvent>, Refusal> {
    require(state)?;
    if state.is_default {
        return Ok(Decision::nothing());
    }
    Ok(taking_over(Decision::nothing(), id, state.channel, holder))
}

/// Disconnects an account; if it was the default, `heir` becomes it, at the version at which it was chosen.
///
/// # Errors
/// When there is no such account.
pub fn disconnect(
    state: &IntegrationAccount,
    id: Uuid,
    heir: Option<(Uuid, i64)>,
) -> Result<Decision<IntegrationAccountEvent>, Refusal> {
    require(state)?;
    let gone = Decision::one(IntegrationAccountEvent::Disconnected);
    if !state.is_default {
        return Ok(gone);
    }
    let gone = gone.releasing(DEFAULT, state.channel.as_str(), id);
    Ok(match heir {
        None => gone,
        Some((heir, version)) => {
            gone.claiming(DEFAULT, state.channel.as_str(), heir).also(Part::of::<IntegrationAccount>(
                heir,
                Expected::Version(version),
                &[IntegrationAccountEvent::MadeDefault],
            ))
        }
    })
}

fn require(state: &IntegrationAccount) -> Result<(), Refusal> {
    if state.exists() { Ok(()) } else { Err(Refusal::not_found("integration account")) }
}

/// The claim proves that `holder` is the default until this commits, so its own version does not matter.
fn taking_over(
    mut decision: Decision<IntegrationAccountEvent>,
    id: Uuid,
    channel: Channel,
    holder: Option<Uuid>,
) -> Decision<IntegrationAccountEvent> {
    decision.events.push(IntegrationAccountEvent::MadeDefault);
    if let Some(holder) = holder.filter(|holder| *holder != id) {
        let stepped_down = [IntegrationAccountEvent::NoLongerDefault];
        decision = decision
            .releasing(DEFAULT, channel.as_str(), holder)
            .also(Part::of::<IntegrationAccount>(holder, Expected::Any, &stepped_down));
    }
    decision.claiming(DEFAULT, channel.as_str(), id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Uuid = Uuid::from_u128(1);
    const OTHER: Uuid = Uuid::from_u128(2);

    fn definition() -> Definition {
        Definition {
            channel: Channel::Whatsapp,
            account_key: "wa-1".to_owned(),
            display_name: "Toko".to_owned(),
            is_active: true,
            division_id: None,
            config: Config::default(),
        }
    }

    fn account(is_default: bool) -> IntegrationAccount {
        IntegrationAccount {
            account_key: "wa-1".to_owned(),
            display_name: "Toko".to_owned(),
            is_active: true,
            is_default,
            created_at: Some(chrono::DateTime::UNIX_EPOCH),
            ..IntegrationAccount::default()
        }
    }

    #[test]
    fn the_first_account_of_a_channel_becomes_its_default() {
        let first = connect(&IntegrationAccount::default(), ID, &definition(), None, false).unwrap();
        assert_eq!(first.events.last(), Some(&IntegrationAccountEvent::MadeDefault));
        assert_eq!((first.claims[0].key.as_str(), first.claims[0].owner), ("whatsapp", ID));
        let second = connect(&IntegrationAccount::default(), ID, &definition(), Some(OTHER), false).unwrap();
        assert_eq!((second.events.len(), second.claims.len()), (1, 0));
    }

    #[test]
    fn the_default_moves_in_one_step() {
        let moved = make_default(&account(false), ID, Some(OTHER)).unwrap();
        assert_eq!(moved.events, [IntegrationAccountEvent::MadeDefault]);
        assert_eq!((moved.releases[0].owner, moved.also[0].0.stream_id), (OTHER, OTHER));
        assert!(make_default(&account(true), ID, Some(ID)).unwrap().events.is_empty());
    }

    #[test]
    fn a_disconnected_default_leaves_it_to_the_heir() {
        let gone = disconnect(&account(true), ID, Some((OTHER, 4))).unwrap();
        assert_eq!((gone.releases[0].owner, gone.claims[0].owner), (ID, OTHER));
        assert_eq!(gone.also[0].0.expected, Expected::Version(4));
        assert!(disconnect(&account(false), ID, Some((OTHER, 4))).unwrap().claims.is_empty());
    }

    #[test]
    fn an_update_that_changes_nothing_is_no_event() {
        let same = Change {
            display_name: Some("Toko"),
            is_active: None,
            division_id: None,
            account_key: "wa-1".to_owned(),
            config: Config::default(),
        };
        assert!(update(&account(true), &same).unwrap().events.is_empty());
        let off = Change { is_active: Some(false), ..same };
        assert_eq!(update(&account(true), &off).unwrap().events.len(), 1);
        assert_eq!(update(&IntegrationAccount::default(), &off).unwrap_err().code, "not_found");
    }
}
