//! What the platform earns: for its administrators, per currency, now or as of a past moment.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::billing::mrr::MrrMonth;
use domain::money::{Currency, Money};
use domain::plan::Plan;
use garde::Validate;
use projections::revenue::query::{self, AsOf, Figures, MonthFigures, PlanFigures, RevenueError};
use rust_decimal::prelude::ToPrimitive;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::wire::Amount;
use crate::http::{Access, Answer, Json, List, Problem, Query, Route, get};
use crate::{App, Ctx};

pub(super) fn routes() -> [Route<App>; 5] {
    [
        get("/api/super-admin/billing/analytics", "Combined analytics dashboard", Access::Super, analytics)
            .describe("all of the following in one answer; see there"),
        get("/api/super-admin/billing/mrr", "Monthly recurring revenue summary", Access::Super, mrr).describe(
            "active and past_due subscriptions, not trials: plan (annual / 12), seats and add-ons less recurring \
             discounts; no tax, overage or one-off. `movements` lead from the month's opening to total_mrr, checked at \
             every call. `at` gives the figures as they were at a past moment",
        ),
        get("/api/super-admin/billing/revenue-by-plan", "Revenue breakdown by plan", Access::Super, by_plan)
            .describe("recurring revenue of each plan that is offered or subscribed to; `at` as in mrr"),
        get(
            "/api/super-admin/billing/monthly-revenue",
            "Monthly revenue over time (last 12 months)",
            Access::Super,
            monthly,
        )
        .describe(
            "12 rows, zero-filled, oldest first, by the UTC month in which an invoice was paid; tax is included, and a \
             refund comes off the month of its payment. `at`: the 12 months up to then, as they were known then",
        ),
        get("/api/super-admin/billing/churn", "Churn metrics for current month", Access::Super, churn).describe(
            "churned in the month per hundred that were active when it began, 0 if none were; a customer won and lost \
             within the month counts as churned. `at`: of the month of that moment, until then",
        ),
    ]
}

#[derive(Deserialize, IntoParams, Validate)]
struct RevenueQuery {
    /// ISO 4217, in capitals.
    #[serde(default = "default_currency")]
    #[param(default = "IDR")]
    #[garde(skip)]
    currency: String,
    /// A past moment; now unless given.
    #[garde(skip)]
    at: Option<DateTime<Utc>>,
}

fn default_currency() -> String {
    Currency::default().to_string()
}

#[derive(Serialize, ToSchema)]
struct BillingAnalytics {
    mrr: MrrSummary,
    by_plan: Vec<RevenueByPlan>,
    monthly: Vec<MonthlyRevenue>,
    churn: ChurnMetrics,
}

#[derive(Serialize, ToSchema)]
struct MrrSummary {
    total_mrr: Amount,
    active_subscriptions: i64,
    trial_subscriptions: i64,
    past_due_subscriptions: i64,
    currency: String,
    movements: MrrMovements,
}

/// How recurring revenue has changed since the month began: closing = opening + new + expansion + reactivation -
/// contraction - churn.
#[derive(Serialize, ToSchema)]
struct MrrMovements {
    /// `2026-11`, in UTC.
    month: String,
    opening: Amount,
    /// From customers that never counted before.
    new: Amount,
    /// More from customers.
    expansion: Amount,
    /// From customers that had churned.
    reactivation: Amount,
    /// Less from customers.
    contraction: Amount,
    /// From customers that no longer count.
    churn: Amount,
    closing: Amount,
}

#[derive(Serialize, ToSchema)]
struct RevenueByPlan {
    plan_id: Uuid,
    plan_name: String,
    /// Active and past due.
    subscriber_count: i64,
    /// Recurring, each month.
    monthly_revenue: Amount,
    currency: String,
}

#[derive(Serialize, ToSchema)]
struct MonthlyRevenue {
    /// `2026-11`, in UTC.
    month: String,
    /// Paid in the month, with tax, less what has been refunded of it.
    total_revenue: Amount,
    /// Invoices that were finalized in the month.
    invoice_count: i64,
    /// Invoices that were paid in the month; a later refund changes nothing here.
    paid_count: i64,
    /// The tax in `total_revenue`.
    tax: Amount,
    /// What was refunded, already taken off.
    refunded: Amount,
}

#[derive(Serialize, ToSchema)]
struct ChurnMetrics {
    /// `2026-11`, in UTC.
    month: String,
    active_at_start: i64,
    churned: i64,
    /// Per cent, two decimals.
    churn_rate_pct: f64,
    mrr_churned: Amount,
}

impl RevenueQuery {
    /// # Errors
    /// 422 naming `currency` if there is none of this name, and `at` if it is not past.
    fn read(&self, ctx: &Ctx) -> Answer<(Currency, AsOf)> {
        let currency: Currency =
            self.currency.parse().map_err(|error| Problem::invalid("currency", format!("{error}")))?;
        let now = ctx.app.store().clock().now();
        match self.at {
            None => Ok((currency, AsOf::Now(now))),
            Some(at) if at <= now => Ok((currency, AsOf::Past(at))),
            Some(_) => Err(Problem::invalid("at", "must not be in the future")),
        }
    }
}

async fn analytics(ctx: Ctx, Query(wanted): Query<RevenueQuery>) -> Answer<Json<BillingAnalytics>> {
    let (currency, as_of) = wanted.read(&ctx)?;
    let figures = figures(&ctx, currency, as_of).await?;
    let months = query::months(&mut *ctx.reader().await?, currency, as_of).await?;
    Ok(Json(BillingAnalytics {
        mrr: summary(&figures)?,
        churn: churn_of(&figures.month)?,
        by_plan: with_offered_plans(&ctx, currency, figures).await?,
        monthly: months.into_iter().map(month_row).collect::<Answer<_>>()?,
    }))
}

async fn mrr(ctx: Ctx, Query(wanted): Query<RevenueQuery>) -> Answer<Json<MrrSummary>> {
    let (currency, as_of) = wanted.read(&ctx)?;
    Ok(Json(summary(&figures(&ctx, currency, as_of).await?)?))
}

async fn by_plan(ctx: Ctx, Query(wanted): Query<RevenueQuery>) -> Answer<List<RevenueByPlan>> {
    let (currency, as_of) = wanted.read(&ctx)?;
    let figures = figures(&ctx, currency, as_of).await?;
    Ok(List(with_offered_plans(&ctx, currency, figures).await?))
}

async fn monthly(ctx: Ctx, Query(wanted): Query<RevenueQuery>) -> Answer<List<MonthlyRevenue>> {
    let (currency, as_of) = wanted.read(&ctx)?;
    let months = query::months(&mut *ctx.reader().await?, currency, as_of).await?;
    Ok(List(months.into_iter().map(month_row).collect::<Answer<_>>()?))
}

async fn churn(ctx: Ctx, Query(wanted): Query<RevenueQuery>) -> Answer<Json<ChurnMetrics>> {
    let (currency, as_of) = wanted.read(&ctx)?;
    Ok(Json(churn_of(&figures(&ctx, currency, as_of).await?.month)?))
}

async fn figures(ctx: &Ctx, currency: Currency, as_of: AsOf) -> Answer<Figures> {
    Ok(query::figures(&mut *ctx.reader().await?, currency, as_of).await?)
}

fn summary(figures: &Figures) -> Answer<MrrSummary> {
    let count = |of: fn(&PlanFigures) -> i64| figures.plans.iter().map(of).sum();
    let month = &figures.month;
    let closing = month.closing().map_err(Problem::internal)?;
    Ok(MrrSummary {
        total_mrr: closing.into(),
        active_subscriptions: count(|plan| plan.active),
        trial_subscriptions: count(|plan| plan.trialing),
        past_due_subscriptions: count(|plan| plan.past_due),
        currency: month.currency().to_string(),
        movements: MrrMovements {
            month: month.month.to_string(),
            opening: month.opening.into(),
            new: month.new.into(),
            expansion: month.expansion.into(),
            reactivation: month.reactivation.into(),
            contraction: month.contraction.into(),
            churn: month.churn.into(),
            closing: closing.into(),
        },
    })
}

/// Plans that are offered in the currency, and others that somebody is subscribed to; the ones that earn most first.
async fn with_offered_plans(ctx: &Ctx, currency: Currency, figures: Figures) -> Answer<Vec<RevenueByPlan>> {
    let plans = ctx.documents::<Plan>().await?;
    let row = |plan_id: Uuid, plan_name: String, subscribers: i64, mrr: Money| RevenueByPlan {
        plan_id,
        plan_name,
        subscriber_count: subscribers,
        monthly_revenue: mrr.into(),
        currency: currency.to_string(),
    };
    let mut rows: BTreeMap<Uuid, RevenueByPlan> = BTreeMap::new();
    for plan in figures.plans.into_iter().filter(|plan| plan.subscribers() > 0) {
        let subscribers = plan.subscribers();
        rows.insert(plan.plan_id, row(plan.plan_id, plan.plan_name, subscribers, plan.mrr));
    }
    for plan in plans {
        let Some(terms) = plan.state.terms else { continue };
        match rows.get_mut(&plan.id) {
            Some(row) => row.plan_name = terms.name,
            None if terms.is_active && terms.prices.currency() == currency => {
                rows.insert(plan.id, row(plan.id, terms.name, 0, Money::zero(currency)));
            }
            None => {}
        }
    }
    let mut rows: Vec<RevenueByPlan> = rows.into_values().collect();
    rows.sort_by(|a, b| b.monthly_revenue.0.cmp(&a.monthly_revenue.0).then(a.plan_id.cmp(&b.plan_id)));
    Ok(rows)
}

fn month_row(month: MonthFigures) -> Answer<MonthlyRevenue> {
    let revenue = month.collected.minus(month.refunded).map_err(Problem::internal)?;
    Ok(MonthlyRevenue {
        month: month.month.to_string(),
        total_revenue: revenue.into(),
        invoice_count: month.invoices,
        paid_count: month.payments,
        tax: month.tax.into(),
        refunded: month.refunded.into(),
    })
}

fn churn_of(month: &MrrMonth) -> Answer<ChurnMetrics> {
    let count = |number: u64| i64::try_from(number).map_err(Problem::internal);
    Ok(ChurnMetrics {
        month: month.month.to_string(),
        active_at_start: count(month.active_at_start)?,
        churned: count(month.churned)?,
        churn_rate_pct: month.churn_rate_pct().to_f64().unwrap_or_default(),
        mrr_churned: month.churn.into(),
    })
}

impl From<RevenueError> for Problem {
    fn from(error: RevenueError) -> Self {
        match error {
            RevenueError::Database(error) => error.into(),
            error => Self::internal(error),
        }
    }
}
