//! Decisions about who holds a channel's address.

use chrono::{DateTime, TimeDelta, Utc};
use domain::channel::Channel;
use domain::channel_address::{ChannelAddress, ChannelAddressEvent, Holder};
use domain::event::PLATFORM_TENANT;
use domain::integration_account::IntegrationAccount;
use domain::refusal::Refusal;
use uuid::Uuid;

use crate::store::{Decision, Origin};
use crate::{CommandError, Store, ids};
use domain::aggregate::Aggregate;

/// A reservation without an account is only believed for so long: whoever made it has died in between.
const RESERVATION_LIMIT: TimeDelta = TimeDelta::minutes(1);

/// The stream of an address.
#[must_use]
pub fn id_of(channel: Channel, account_key: &str) -> Uuid {
    ids::named_id(PLATFORM_TENANT, &format!("channel_address:{channel}:{account_key}"))
}

/// `abandoned`: the present holder has no account and had time enough to make it.
///
/// # Errors
/// `already_taken` when another account holds it.
pub fn reserve(
    state: &ChannelAddress,
    wanted: &ChannelAddressEvent,
    abandoned: impl Fn(&Holder) -> bool,
) -> Result<Decision<ChannelAddressEvent>, Refusal> {
    let ChannelAddressEvent::Reserved { tenant_id, account_id, .. } = wanted else {
        return Ok(Decision::nothing());
    };
    match &state.holder {
        Some(holder) if holder.account_id == *account_id && holder.tenant_id == *tenant_id => {
            Ok(Decision::nothing())
        }
        Some(holder) if !abandoned(holder) => {
            Err(Refusal::conflict("already_taken", "This account key is already in use on this channel."))
        }
        _ => Ok(Decision::one(wanted.clone())),
    }
}

/// Gives an address back; one that someone else holds is left alone.
#[must_use]
pub fn release(state: &ChannelAddress, account_id: Uuid) -> Decision<ChannelAddressEvent> {
    match state.holder {
        Some(holder) if holder.account_id == account_id => Decision::one(ChannelAddressEvent::Released),
        _ => Decision::nothing(),
    }
}

/// Reserves an address for an account that exists or is about to. `origin` is the platform's.
///
/// # Errors
/// `already_taken`, or a failure.
pub async fn reserve_for(
    store: &Store,
    origin: &Origin,
    channel: Channel,
    account_key: &str,
    (tenant_id, account_id): (Uuid, Uuid),
) -> Result<(), CommandError> {
    let id = id_of(channel, account_key);
    let now = store.clock().now();
    let before: ChannelAddress = store.load(PLATFORM_TENANT, id).await?;
    let orphan = match before.holder {
        Some(holder) if is_settled(&holder, now) => {
            let account: IntegrationAccount = store.load(holder.tenant_id, holder.account_id).await?;
            (!account.exists()).then_some(holder)
        }
        _ => None,
    };
    let account_key = account_key.to_owned();
    let wanted = ChannelAddressEvent::Reserved { channel, account_key, tenant_id, account_id };
    store.execute(origin, id, |state| reserve(state, &wanted, |holder| orphan == Some(*holder))).await?;
    Ok(())
}

/// # Errors
/// A failure; the address is then free again once [`reserve_for`] finds it without an account.
pub async fn release_from(
    store: &Store,
    origin: &Origin,
    channel: Channel,
    account_key: &str,
    account_id: Uuid,
) -> Result<(), CommandError> {
    store.execute(origin, id_of(channel, account_key), |state| Ok(release(state, account_id))).await?;
    Ok(())
}

/// Whether whoever reserved it has had time enough to make the account.
#[must_use]
pub fn is_settled(holder: &Holder, now: DateTime<Utc>) -> bool {
    now - holder.since > RESERVATION_LIMIT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(account: u128) -> ChannelAddressEvent {
        ChannelAddressEvent::Reserved {
            channel: Channel::Whatsapp,
            account_key: "wa-1".to_owned(),
            tenant_id: Uuid::from_u128(7),
            account_id: Uuid::from_u128(account),
        }
    }

    fn held_by(account: u128) -> ChannelAddress {
        let holder = Holder {
            tenant_id: Uuid::from_u128(7),
            account_id: Uuid::from_u128(account),
            since: DateTime::UNIX_EPOCH,
        };
        ChannelAddress { holder: Some(holder), ..ChannelAddress::default() }
    }

    #[test]
    fn a_free_address_is_reserved_and_a_held_one_refused() {
        assert_eq!(reserve(&ChannelAddress::default(), &wanted(1), |_| false).unwrap().events, [wanted(1)]);
        assert!(reserve(&held_by(1), &wanted(1), |_| false).unwrap().events.is_empty());
        assert_eq!(reserve(&held_by(2), &wanted(1), |_| false).unwrap_err().code, "already_taken");
    }

    #[test]
    fn an_abandoned_reservation_is_taken_over() {
        assert_eq!(reserve(&held_by(2), &wanted(1), |_| true).unwrap().events, [wanted(1)]);
    }

    #[test]
    fn only_the_holder_gives_an_address_back() {
        assert_eq!(release(&held_by(1), Uuid::from_u128(1)).events, [ChannelAddressEvent::Released]);
        assert!(release(&held_by(2), Uuid::from_u128(1)).events.is_empty());
    }
}
