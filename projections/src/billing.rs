//! What billing waits for: the next thing that time makes necessary for each subscription, and refunds that the gateway
//! has not confirmed. And what billing asks of other read models.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use commands::CommandError;
use commands::billing::Figures;
use commands::invoice::reported_refund_id;
use commands::store::Pool;
use domain::aggregate::Aggregate;
use domain::billing::overage::Usage;
use domain::billing::{Month, SubscriptionStatus};
use domain::event::PLATFORM_TENANT;
use domain::invoice::{Invoice, InvoiceEvent};
use domain::money::Currency;
use domain::organization::Organization;
use domain::plan::Plan;
use domain::subscription::Subscription;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::counters::MESSAGES;
use crate::documents;
use crate::event::{Event, FoldError, decode};
use crate::projection::Projection;
use crate::row;
use crate::table::{Fold, Key, table};

/// The name under which its progress is told.
pub const NAME: &str = "billing";

row! {
    TimerRow in "subscription_timers" key (tenant_id, subscription_id) {
        tenant_id: Uuid,
        subscription_id: Uuid,
        plan_id: Option<Uuid>,
        status: Option<SubscriptionStatus>,
        state: Subscription,
        next_due_at: Option<DateTime<Utc>>,
    }
}

row! {
    PendingRefundRow in "pending_refunds" key (tenant_id, invoice_id) {
        tenant_id: Uuid,
        invoice_id: Uuid,
        requested_at: DateTime<Utc>,
    }
}

#[must_use]
pub fn projection() -> Projection {
    Projection::read_model(NAME, vec![table::<Timers>(), table::<PendingRefunds>()])
}

struct Timers;

impl Fold for Timers {
    type Row = TimerRow;

    fn keys(event: &Event) -> Vec<Key> {
        if event.stream_type == Subscription::STREAM {
            vec![vec![json!(event.tenant_id), json!(event.stream_id)]]
        } else {
            Vec::new()
        }
    }

    fn apply(_: &Key, row: Option<TimerRow>, event: &Event) -> Result<Option<TimerRow>, FoldError> {
        let mut state = row.map(|row| row.state).unwrap_or_default();
        state.evolve(&decode(event)?, event.context());
        let contract = state.contract.as_ref();
        Ok(Some(TimerRow {
            tenant_id: event.tenant_id,
            subscription_id: event.stream_id,
            plan_id: contract.map(|contract| contract.items.plan_id),
            status: state.status(),
            next_due_at: contract.and_then(|contract| contract.lifecycle.next_action()).map(|due| due.at),
            state,
        }))
    }
}

struct PendingRefunds;

impl Fold for PendingRefunds {
    type Row = PendingRefundRow;

    fn keys(event: &Event) -> Vec<Key> {
        const TYPES: [&str; 3] = ["invoice.refund_requested", "invoice.refunded", "invoice.refund_failed"];
        if event.stream_type == Invoice::STREAM && TYPES.contains(&event.event_type.as_str()) {
            vec![vec![json!(event.tenant_id), json!(event.stream_id)]]
        } else {
            Vec::new()
        }
    }

    fn apply(
        _: &Key,
        row: Option<PendingRefundRow>,
        event: &Event,
    ) -> Result<Option<PendingRefundRow>, FoldError> {
        Ok(match decode(event)? {
            InvoiceEvent::RefundRequested(_) => Some(PendingRefundRow {
                tenant_id: event.tenant_id,
                invoice_id: event.stream_id,
                requested_at: event.recorded_at,
            }),
            // Made by hand at the gateway, beside the one that is on its way.
            InvoiceEvent::Refunded { refund_id, gateway_refund_id: Some(name), .. }
                if refund_id == reported_refund_id(event.stream_id, &name) =>
            {
                row
            }
            _ => None,
        })
    }
}

/// Tenants of a log for whose subscription something is due, the most overdue first; those `resting` are left out, and
/// those that are suspended: nothing is done for them.
///
/// # Errors
/// Database errors.
pub async fn due(
    db: &mut PgConnection,
    log_id: i16,
    now: DateTime<Utc>,
    resting: &[Uuid],
    limit: i64,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT t.tenant_id FROM read.subscription_timers t JOIN tenant_logs l USING (tenant_id)
         WHERE t.next_due_at <= $2 AND l.log_id = $1 AND t.tenant_id <> ALL($3) AND NOT EXISTS (
             SELECT FROM read.documents o
             WHERE o.tenant_id = $5 AND o.collection = $6 AND o.id = t.tenant_id AND o.doc ->> 'status' = 'suspended')
         ORDER BY t.next_due_at LIMIT $4",
    )
    .bind(log_id)
    .bind(now)
    .bind(resting)
    .bind(limit)
    .bind(PLATFORM_TENANT)
    .bind(Organization::STREAM)
    .fetch_all(db)
    .await
}

/// When something is due for the next subscription of any tenant after `now`.
///
/// # Errors
/// Database errors.
pub async fn next_due(
    db: &mut PgConnection,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar("SELECT min(next_due_at) FROM read.subscription_timers WHERE next_due_at > $1")
        .bind(now)
        .fetch_one(db)
        .await
}

/// Refunds of a log's tenants that were asked for before a moment and are not confirmed, oldest first, as tenant and
/// invoice; tenants `resting` are left out.
///
/// # Errors
/// Database errors.
pub async fn pending_refunds(
    db: &mut PgConnection,
    log_id: i16,
    before: DateTime<Utc>,
    resting: &[Uuid],
    limit: i64,
) -> Result<Vec<(Uuid, Uuid)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT r.tenant_id, r.invoice_id FROM read.pending_refunds r JOIN tenant_logs l USING (tenant_id)
         WHERE r.requested_at <= $2 AND l.log_id = $1 AND r.tenant_id <> ALL($3)
         ORDER BY r.requested_at, r.invoice_id LIMIT $4",
    )
    .bind(log_id)
    .bind(before)
    .bind(resting)
    .bind(limit)
    .fetch_all(db)
    .await
}

/// Answers [`Figures`] from the read models.
pub struct ReadModels {
    pool: Pool,
}

impl ReadModels {
    #[must_use]
    pub const fn new(pool: Pool) -> Self {
        Self { pool }
    }
}

#[async_trait]
impl Figures for ReadModels {
    async fn messages(&self, tenant_id: Uuid, months: &[Month]) -> Result<Usage, CommandError> {
        let periods: Vec<String> = months.iter().map(Month::to_string).collect();
        let counts: Vec<(String, i64)> = sqlx::query_as(
            "SELECT period, value FROM read.counters WHERE tenant_id = $1 AND name = $2 AND period = ANY($3)",
        )
        .bind(tenant_id)
        .bind(MESSAGES)
        .bind(periods)
        .fetch_all(&self.pool)
        .await?;
        let counted = |(period, value): (String, i64)| {
            let month = period.parse().map_err(CommandError::failed)?;
            Ok((month, u64::try_from(value).unwrap_or(0)))
        };
        counts.into_iter().map(counted).collect()
    }

    async fn cheapest_plan(&self) -> Result<Option<Uuid>, CommandError> {
        let mut db = self.pool.acquire().await?;
        let plans = documents::list::<Plan>(&mut db, PLATFORM_TENANT).await?;
        let for_sale = plans.into_iter().filter_map(|plan| {
            let terms = plan.state.terms.filter(|terms| terms.is_active)?;
            let price = terms.prices.base_monthly;
            // Amounts of other currencies can't be compared; they come after those of the default one.
            Some((price.currency() != Currency::default(), price.amount(), terms.sort_order, plan.id))
        });
        Ok(for_sale.min().map(|(_, _, _, id)| id))
    }

    async fn is_plan_in_use(&self, plan_id: Uuid) -> Result<bool, CommandError> {
        Ok(sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM read.subscription_timers WHERE plan_id = $1 AND status <> 'canceled')",
        )
        .bind(plan_id)
        .fetch_one(&self.pool)
        .await?)
    }
}
