//! What each tenant has agreed to, as far as the books need to know it to see what an event changes.

use domain::aggregate::Aggregate;
use domain::billing::standing::{Standing, StandingChange};
use domain::subscription::{Subscription, SubscriptionEvent};
use serde_json::json;
use uuid::Uuid;

use super::change::Stated;
use crate::event::{Event, FoldError, decode};
use crate::row;
use crate::table::{Fold, Key};

row! {
    /// A subscription between two events.
    TermsRow in "revenue_terms" key (tenant_id, subscription_id) {
        tenant_id: Uuid,
        subscription_id: Uuid,
        state: Subscription,
        /// It was worth something at some time, so its tenant is not new when it is again.
        has_counted: bool,
    }
}

pub(super) struct Terms;

impl Fold for Terms {
    type Row = TermsRow;

    fn keys(event: &Event) -> Vec<Key> {
        if event.stream_type != Subscription::STREAM {
            return Vec::new();
        }
        vec![vec![json!(event.tenant_id), json!(event.stream_id)]]
    }

    fn apply(_: &Key, row: Option<TermsRow>, event: &Event) -> Result<Option<TermsRow>, FoldError> {
        let (mut state, has_counted) = row.map(|row| (row.state, row.has_counted)).unwrap_or_default();
        let body: SubscriptionEvent = decode(event)?;
        state.evolve(&body, event.context());
        let counts = state.status().is_some_and(|status| status.is_paying());
        Ok(Some(TermsRow {
            tenant_id: event.tenant_id,
            subscription_id: event.stream_id,
            state,
            has_counted: has_counted || counts,
        }))
    }
}

impl Stated for Terms {
    type Change = StandingChange;

    fn change(
        before: Option<&TermsRow>,
        after: Option<&TermsRow>,
        _: &Event,
    ) -> Result<Option<StandingChange>, FoldError> {
        let returning = before.is_some_and(|row| row.has_counted);
        let before = before.map(standing).transpose()?.flatten();
        let Some(after) = after.map(standing).transpose()?.flatten() else { return Ok(None) };
        let changed = before.as_ref() != Some(&after);
        Ok(changed.then_some(StandingChange { before, after, returning }))
    }
}

fn standing(row: &TermsRow) -> Result<Option<Standing>, FoldError> {
    let of = |contract: &domain::subscription::Contract| {
        let items = &contract.items;
        Standing::of(contract.lifecycle.status, items, contract.coupon_for(items.plan_id))
    };
    row.state
        .contract
        .as_ref()
        .map(of)
        .transpose()
        .map_err(|error| FoldError::Inconsistent(error.to_string()))
}
