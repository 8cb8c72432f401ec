//! The book of subscriptions: who counts, on which plan, for how much, and every movement of that.

use chrono::{DateTime, NaiveDate, Utc};
use domain::billing::mrr::MovementKind;
use domain::billing::standing::Posting;
use domain::event::PLATFORM_TENANT;
use domain::money::Currency;
use serde_json::json;
use uuid::Uuid;

use super::change::change_in;
use super::terms::Terms;
use super::{day_of, minor_units};
use crate::event::{Event, FoldError};
use crate::row;
use crate::table::{Fold, Key};

row! {
    /// One side of one change; amounts in minor units.
    SubscriptionEntryRow in "revenue_subscription_entries" key (log_id, position, side) {
        log_id: i16,
        position: i64,
        /// 0 for the plan that is left, or the only one there is; 1 for the one that is entered.
        side: i16,
        tenant_id: Uuid,
        org_id: Uuid,
        subscription_id: Uuid,
        recorded_at: DateTime<Utc>,
        day: NaiveDate,
        currency: Currency,
        plan_id: Uuid,
        plan_name: String,
        trialing: i64,
        active: i64,
        past_due: i64,
        mrr: i64,
        new_mrr: i64,
        expansion_mrr: i64,
        reactivation_mrr: i64,
        contraction_mrr: i64,
        churned_mrr: i64,
        joined: i64,
        churned: i64,
    }
}

row! {
    /// What the entries of a day come to; amounts in minor units.
    SubscriptionDayRow in "revenue_subscription_days" key (log_id, currency, plan_id, day) {
        log_id: i16,
        currency: Currency,
        plan_id: Uuid,
        day: NaiveDate,
        tenant_id: Uuid,
        /// As it was called last.
        plan_name: String,
        trialing: i64,
        active: i64,
        past_due: i64,
        mrr: i64,
        new_mrr: i64,
        expansion_mrr: i64,
        reactivation_mrr: i64,
        contraction_mrr: i64,
        churned_mrr: i64,
        joined: i64,
        churned: i64,
    }
}

/// The sides of a change with their numbers.
///
/// # Errors
/// When it can't be booked.
fn sides(event: &Event) -> Result<Vec<(i16, Posting)>, FoldError> {
    let postings = change_in::<Terms>(event)?.postings();
    let postings = postings.map_err(|error| FoldError::Inconsistent(error.to_string()))?;
    Ok((0..).zip(postings).collect())
}

/// The keys of the rows that a change touches. What can't be read touches a row as well: it is refused there, and not
/// passed over.
fn keys_of(event: &Event, key: impl Fn(i16, Option<&Posting>) -> Key) -> Vec<Key> {
    match sides(event) {
        Ok(sides) => sides.iter().map(|(side, posting)| key(*side, Some(posting))).collect(),
        Err(_) => vec![key(0, None)],
    }
}

pub(super) struct Entries;

impl Entries {
    fn key(event: &Event, side: i16) -> Key {
        vec![json!(event.log_id), json!(event.position), json!(side)]
    }
}

impl Fold for Entries {
    type Row = SubscriptionEntryRow;

    fn keys(event: &Event) -> Vec<Key> {
        keys_of(event, |side, _| Self::key(event, side))
    }

    fn apply(
        key: &Key,
        row: Option<SubscriptionEntryRow>,
        event: &Event,
    ) -> Result<Option<SubscriptionEntryRow>, FoldError> {
        let sides = sides(event)?;
        let Some((side, posting)) = sides.into_iter().find(|(side, _)| Self::key(event, *side) == *key)
        else {
            return Ok(row);
        };
        let moved = |kind| minor_units(posting.moved(kind));
        Ok(Some(SubscriptionEntryRow {
            log_id: event.log_id,
            position: event.position,
            side,
            tenant_id: PLATFORM_TENANT,
            org_id: event.tenant_id,
            subscription_id: event.stream_id,
            recorded_at: event.recorded_at,
            day: day_of(event),
            currency: posting.currency(),
            plan_id: posting.plan_id,
            trialing: posting.trialing,
            active: posting.active,
            past_due: posting.past_due,
            mrr: minor_units(posting.mrr)?,
            new_mrr: moved(MovementKind::New)?,
            expansion_mrr: moved(MovementKind::Expansion)?,
            reactivation_mrr: moved(MovementKind::Reactivation)?,
            contraction_mrr: moved(MovementKind::Contraction)?,
            churned_mrr: moved(MovementKind::Churn)?,
            joined: posting.joined(),
            churned: posting.churned(),
            plan_name: posting.plan_name,
        }))
    }
}

pub(super) struct Days;

impl Days {
    fn key(event: &Event, posting: Option<&Posting>) -> Key {
        let currency = posting.map_or(Currency::IDR, Posting::currency);
        let plan_id = posting.map_or(Uuid::nil(), |posting| posting.plan_id);
        vec![json!(event.log_id), json!(currency), json!(plan_id), json!(day_of(event))]
    }
}

impl Fold for Days {
    type Row = SubscriptionDayRow;

    fn keys(event: &Event) -> Vec<Key> {
        keys_of(event, |_, posting| Self::key(event, posting))
    }

    fn apply(
        key: &Key,
        row: Option<SubscriptionDayRow>,
        event: &Event,
    ) -> Result<Option<SubscriptionDayRow>, FoldError> {
        let sides = sides(event)?;
        let mut postings = sides.into_iter().map(|(_, posting)| posting);
        let Some(posting) = postings.find(|posting| Self::key(event, Some(posting)) == *key) else {
            return Ok(row);
        };
        let mut row = row.unwrap_or_else(|| empty(event, &posting));
        let moved = |kind| minor_units(posting.moved(kind));
        row.trialing += posting.trialing;
        row.active += posting.active;
        row.past_due += posting.past_due;
        row.mrr += minor_units(posting.mrr)?;
        row.new_mrr += moved(MovementKind::New)?;
        row.expansion_mrr += moved(MovementKind::Expansion)?;
        row.reactivation_mrr += moved(MovementKind::Reactivation)?;
        row.contraction_mrr += moved(MovementKind::Contraction)?;
        row.churned_mrr += moved(MovementKind::Churn)?;
        row.joined += posting.joined();
        row.churned += posting.churned();
        row.plan_name = posting.plan_name;
        Ok(Some(row))
    }
}

fn empty(event: &Event, posting: &Posting) -> SubscriptionDayRow {
    SubscriptionDayRow {
        log_id: event.log_id,
        currency: posting.currency(),
        plan_id: posting.plan_id,
        day: day_of(event),
        tenant_id: PLATFORM_TENANT,
        plan_name: String::new(),
        trialing: 0,
        active: 0,
        past_due: 0,
        mrr: 0,
        new_mrr: 0,
        expansion_mrr: 0,
        reactivation_mrr: 0,
        contraction_mrr: 0,
        churned_mrr: 0,
        joined: 0,
        churned: 0,
    }
}
