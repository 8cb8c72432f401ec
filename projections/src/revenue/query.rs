//! What the platform's administrators ask of revenue.

use chrono::{DateTime, Utc};
use domain::billing::Month;
use domain::billing::mrr::{MrrDrift, MrrMonth};
use domain::event::PLATFORM_TENANT;
use domain::money::{Currency, Money, MoneyError};
use sqlx::PgConnection;
use uuid::Uuid;

/// Months in the list of revenue by month.
pub const MONTHS_SHOWN: usize = 12;

/// The moment that figures are as of.
#[derive(Clone, Copy, Debug)]
pub enum AsOf {
    /// All that is in the books; the time says which month is the current one.
    Now(DateTime<Utc>),
    /// What was recorded until then.
    Past(DateTime<Utc>),
}

impl AsOf {
    #[must_use]
    pub fn month(self) -> Month {
        match self {
            Self::Now(at) | Self::Past(at) => Month::of(at),
        }
    }

    /// Until when entries count, if not all of them do.
    const fn until(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Now(_) => None,
            Self::Past(at) => Some(at),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RevenueError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// The movements do not lead to what the subscriptions add up to.
    #[error(transparent)]
    Drift(#[from] MrrDrift),
    #[error(transparent)]
    Money(#[from] MoneyError),
    #[error("a sum in {0} is below zero")]
    Negative(Currency),
}

/// What subscriptions in one currency are worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// The month of the moment, until then; checked against the plans.
    pub month: MrrMonth,
    /// Each plan that ever had a subscription, by id.
    pub plans: Vec<PlanFigures>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanFigures {
    pub plan_id: Uuid,
    /// As it was called when somebody last subscribed to it, or left.
    pub plan_name: String,
    /// Subscriptions.
    pub trialing: i64,
    pub active: i64,
    pub past_due: i64,
    pub mrr: Money,
}

impl PlanFigures {
    /// Subscriptions that count as revenue.
    #[must_use]
    pub const fn subscribers(&self) -> i64 {
        self.active + self.past_due
    }
}

#[derive(sqlx::FromRow)]
struct PlanSums {
    plan_id: Uuid,
    plan_name: String,
    trialing: i64,
    active: i64,
    past_due: i64,
    mrr: i64,
    opening: i64,
    new_mrr: i64,
    expansion_mrr: i64,
    reactivation_mrr: i64,
    contraction_mrr: i64,
    churned_mrr: i64,
    counted_at_start: i64,
    joined: i64,
    churned: i64,
}

/// What subscriptions in a currency are worth at a moment, and how the month came to that. The month opens with all
/// movements before it, and not with what the plans were worth, so that the check covers the whole of history.
///
/// # Errors
/// [`RevenueError::Drift`] when all movements do not lead to what the plans add up to; database errors.
pub async fn figures(
    db: &mut PgConnection,
    currency: Currency,
    as_of: AsOf,
) -> Result<Figures, RevenueError> {
    let sums = plan_sums(db, currency, as_of).await?;
    let money = |units: i64| Money::from_minor_units(units, currency);
    let total = |of: fn(&PlanSums) -> i64| sums.iter().map(of).sum::<i64>();
    let count = |number: i64| u64::try_from(number).map_err(|_| RevenueError::Negative(currency));
    let month = MrrMonth {
        month: as_of.month(),
        opening: money(total(|plan| plan.opening)),
        new: money(total(|plan| plan.new_mrr)),
        expansion: money(total(|plan| plan.expansion_mrr)),
        reactivation: money(total(|plan| plan.reactivation_mrr)),
        contraction: money(total(|plan| plan.contraction_mrr)),
        churn: money(total(|plan| plan.churned_mrr)),
        active_at_start: count(total(|plan| plan.counted_at_start))?,
        joined: count(total(|plan| plan.joined))?,
        churned: count(total(|plan| plan.churned))?,
    };
    let plan = |sums: PlanSums| PlanFigures {
        plan_id: sums.plan_id,
        plan_name: sums.plan_name,
        trialing: sums.trialing,
        active: sums.active,
        past_due: sums.past_due,
        mrr: money(sums.mrr),
    };
    let plans: Vec<PlanFigures> = sums.into_iter().map(plan).collect();
    let observed = Money::sum(currency, plans.iter().map(|plan| plan.mrr))?;
    month.verify(observed, count(plans.iter().map(PlanFigures::subscribers).sum())?)?;
    Ok(Figures { month, plans })
}

async fn plan_sums(
    db: &mut PgConnection,
    currency: Currency,
    as_of: AsOf,
) -> Result<Vec<PlanSums>, sqlx::Error> {
    sqlx::query_as(
        "SELECT plan_id, (array_agg(plan_name ORDER BY day DESC, plan_name))[1] AS plan_name,
             sum(trialing)::bigint AS trialing, sum(active)::bigint AS active, sum(past_due)::bigint AS past_due,
             sum(mrr)::bigint AS mrr,
             coalesce(sum(new_mrr + expansion_mrr + reactivation_mrr - contraction_mrr - churned_mrr)
                 FILTER (WHERE day < $3), 0)::bigint AS opening,
             coalesce(sum(joined - churned) FILTER (WHERE day < $3), 0)::bigint AS counted_at_start,
             coalesce(sum(new_mrr) FILTER (WHERE day >= $3), 0)::bigint AS new_mrr,
             coalesce(sum(expansion_mrr) FILTER (WHERE day >= $3), 0)::bigint AS expansion_mrr,
             coalesce(sum(reactivation_mrr) FILTER (WHERE day >= $3), 0)::bigint AS reactivation_mrr,
             coalesce(sum(contraction_mrr) FILTER (WHERE day >= $3), 0)::bigint AS contraction_mrr,
             coalesce(sum(churned_mrr) FILTER (WHERE day >= $3), 0)::bigint AS churned_mrr,
             coalesce(sum(joined) FILTER (WHERE day >= $3), 0)::bigint AS joined,
             coalesce(sum(churned) FILTER (WHERE day >= $3), 0)::bigint AS churned
         FROM (
             SELECT plan_id, plan_name, day, trialing, active, past_due, mrr, new_mrr, expansion_mrr, reactivation_mrr,
                 contraction_mrr, churned_mrr, joined, churned
             FROM read.revenue_subscription_days
             WHERE tenant_id = $1 AND currency = $2 AND day < coalesce($4::timestamptz::date, 'infinity')
             UNION ALL
             SELECT plan_id, plan_name, day, trialing, active, past_due, mrr, new_mrr, expansion_mrr, reactivation_mrr,
                 contraction_mrr, churned_mrr, joined, churned
             FROM read.revenue_subscription_entries
             WHERE tenant_id = $1 AND currency = $2 AND day = $4::timestamptz::date AND recorded_at <= $4) booked
         GROUP BY plan_id ORDER BY plan_id",
    )
    .bind(PLATFORM_TENANT)
    .bind(currency.code())
    .bind(as_of.month().start().date_naive())
    .bind(as_of.until())
    .fetch_all(db)
    .await
}

/// What was paid in a month, less what was given back of it since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonthFigures {
    pub month: Month,
    /// Invoices finalized in the month.
    pub invoices: i64,
    /// Invoices paid in the month.
    pub payments: i64,
    /// With tax.
    pub collected: Money,
    /// With tax, out of what was collected in the month, whenever it was given back.
    pub refunded: Money,
    /// In what was collected and not given back.
    pub tax: Money,
}

#[derive(sqlx::FromRow)]
struct MonthSums {
    month: chrono::NaiveDate,
    invoices: i64,
    payments: i64,
    collected: i64,
    refunded: i64,
    tax: i64,
}

/// The twelve months up to that of the moment, oldest first.
///
/// # Errors
/// Database errors.
pub async fn months(
    db: &mut PgConnection,
    currency: Currency,
    as_of: AsOf,
) -> Result<Vec<MonthFigures>, sqlx::Error> {
    let months = as_of.month().trailing(MONTHS_SHOWN);
    let first = months.first().map_or(as_of.month(), |month| *month);
    let rows: Vec<MonthSums> = sqlx::query_as(
        "SELECT month, sum(invoices)::bigint AS invoices, sum(payments)::bigint AS payments,
             sum(collected)::bigint AS collected, sum(refunded)::bigint AS refunded, sum(tax)::bigint AS tax
         FROM (
             SELECT month, invoices, payments, collected, refunded, tax FROM read.revenue_payment_days
             WHERE tenant_id = $1 AND currency = $2 AND month >= $3
                 AND day < coalesce($4::timestamptz::date, 'infinity')
             UNION ALL
             SELECT month, invoices, payments, collected, refunded, tax FROM read.revenue_payment_entries
             WHERE tenant_id = $1 AND currency = $2 AND month >= $3
                 AND day = $4::timestamptz::date AND recorded_at <= $4) booked
         GROUP BY month",
    )
    .bind(PLATFORM_TENANT)
    .bind(currency.code())
    .bind(first.start().date_naive())
    .bind(as_of.until())
    .fetch_all(db)
    .await?;
    let money = |units: i64| Money::from_minor_units(units, currency);
    let figures = |month: Month| {
        let sums = rows.iter().find(|sums| sums.month == month.start().date_naive());
        let of = |column: fn(&MonthSums) -> i64| sums.map_or(0, column);
        MonthFigures {
            month,
            invoices: of(|sums| sums.invoices),
            payments: of(|sums| sums.payments),
            collected: money(of(|sums| sums.collected)),
            refunded: money(of(|sums| sums.refunded)),
            tax: money(of(|sums| sums.tax)),
        }
    };
    Ok(months.into_iter().map(figures).collect())
}

/// Whose invoice it is.
///
/// # Errors
/// Database errors.
pub async fn tenant_of_invoice(db: &mut PgConnection, invoice_id: Uuid) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar("SELECT tenant_id FROM read.revenue_invoices WHERE invoice_id = $1")
        .bind(invoice_id)
        .fetch_optional(db)
        .await
}
