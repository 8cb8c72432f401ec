//! A year of 200 tenants: whatever moment is asked for, the books say what the tenants' own histories say, their
//! identities hold, and a rebuild leaves the same rows.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use domain::aggregate::Aggregate;
use domain::billing::mrr::MrrMonth;
use domain::billing::{Month, SubscriptionStatus};
use domain::event::{Actor, Context, EventBody, Metadata};
use domain::invoice::{Invoice, InvoiceEvent};
use domain::money::{Currency, Money};
use domain::subscription::{Subscription, SubscriptionEvent};
use projections::revenue::query::{self, AsOf, RevenueError};
use projections::runner::{BATCH, Runner, Slot};
use projections::{Projection, rebuild, revenue};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::life::{Happened, Life};
use crate::projections::Lab;

const TENANTS: u64 = 200;
/// Events in one INSERT.
const PAGE: usize = 2_000;
const BOOKS: [(&str, &str); 4] = [
    ("revenue_subscription_entries", "log_id, position, side"),
    ("revenue_subscription_days", "log_id, currency, plan_id, day"),
    ("revenue_payment_entries", "log_id, position"),
    ("revenue_payment_days", "log_id, currency, month, day"),
];

fn at(date: &str) -> DateTime<Utc> {
    date.parse::<NaiveDate>().unwrap().and_time(chrono::NaiveTime::MIN).and_utc()
}

/// Fourteen months, so that the first tenants renew twelve times.
fn span() -> (DateTime<Utc>, DateTime<Utc>) {
    (at("2026-01-01"), at("2027-03-01"))
}

/// Everything that happens, in the order of time.
fn history() -> Vec<Happened> {
    let (start, end) = span();
    let life = |number: u64| {
        let joins = start + TimeDelta::days(i64::try_from(number * 37 % 300).unwrap());
        Life::begin(number, Uuid::from_u128(0x7e_4a47_0000 + u128::from(number)), joins).until(end)
    };
    let mut all: Vec<Happened> = (0..TENANTS).flat_map(life).collect();
    // Stable: what a tenant does at one moment stays in order.
    all.sort_by_key(|happened| happened.at);
    all
}

/// Writes it into the tenants' logs as if it had been recorded at those times.
async fn write(lab: &Lab, history: &[Happened]) {
    let metadata = serde_json::to_value(Metadata::new(Actor::system(), Uuid::from_u128(0xc0))).unwrap();
    let (mut positions, mut versions) = (HashMap::<i16, i64>::new(), HashMap::<Uuid, i64>::new());
    let mut rows = Vec::with_capacity(history.len());
    for (number, happened) in (1_u128..).zip(history) {
        let log_id = lab.store.log_of(happened.tenant_id).await.unwrap();
        let position = positions.entry(log_id).or_default();
        let version = versions.entry(happened.stream_id).or_default();
        (*position, *version) = (*position + 1, *version + 1);
        rows.push(json!({
            "log_id": log_id, "position": *position, "tenant_id": happened.tenant_id,
            "stream_type": happened.stream_type, "stream_id": happened.stream_id, "version": *version,
            "event_type": happened.event_type, "schema_version": 1, "event_id": Uuid::from_u128(number),
            "command_id": Uuid::from_u128(number), "metadata": metadata, "recorded_at": happened.at,
            "payload": happened.payload, "payload_hash": "\\x00", "chain_hash": "\\x00",
        }));
    }
    assert_eq!(positions.len(), 2, "the tenants lie in both logs");
    let columns =
        "log_id, position, tenant_id, stream_type, stream_id, version, event_type, schema_version, event_id,
        command_id, metadata, recorded_at, payload, payload_hash, chain_hash";
    let sql = format!(
        "INSERT INTO events ({columns}) SELECT {columns} FROM jsonb_populate_recordset(NULL::events, $1)"
    );
    for page in rows.chunks(PAGE) {
        let written = sqlx::query(AssertSqlSafe(sql.clone())).bind(Value::Array(page.to_vec()));
        written.execute(lab.pool()).await.unwrap();
    }
}

/// Keeps the books up to the end of every log, however long that takes.
async fn fill(lab: &Lab, projection: &Arc<Projection>) {
    for log_id in lab.store.logs() {
        let runner = Runner::new(lab.store.clone(), Arc::clone(projection), *log_id, Slot::Live);
        let mut lease = runner.acquire().await.unwrap().expect("nobody else runs it");
        loop {
            let next = runner.step(lease, BATCH).await.unwrap();
            if next.position == lease.position {
                break;
            }
            lease = next;
        }
        runner.give_back().await.unwrap();
    }
}

/// The same figures, found by replaying the tenants' histories from their beginning.
#[derive(Default)]
struct Replay {
    subscriptions: BTreeMap<Uuid, (Subscription, i64)>,
    /// When each invoice was paid, and in which currency; then by month of payment: number, paid, given back.
    paid: HashMap<Uuid, Month>,
    months: BTreeMap<(Currency, Month), [i64; 3]>,
    /// Customers lost in a month.
    churned: BTreeMap<(Currency, Month), u64>,
}

impl Replay {
    fn apply(&mut self, happened: &Happened) {
        if happened.stream_type == Invoice::STREAM {
            return self.apply_invoice(happened);
        }
        let (subscription, version) = self.subscriptions.entry(happened.tenant_id).or_default();
        let before = subscription.contract.as_ref().and_then(|contract| contract.mrr().unwrap());
        *version += 1;
        let context = Context { stream_id: happened.stream_id, version: *version, at: happened.at };
        let event = SubscriptionEvent::decode(&happened.event_type, 1, &happened.payload).unwrap();
        subscription.evolve(&event, context);
        let after = subscription.contract.as_ref().and_then(|contract| contract.mrr().unwrap());
        if let (Some(lost), None) = (before, after) {
            *self.churned.entry((lost.currency(), Month::of(happened.at))).or_default() += 1;
        }
    }

    fn apply_invoice(&mut self, happened: &Happened) {
        match InvoiceEvent::decode(&happened.event_type, 1, &happened.payload).unwrap() {
            InvoiceEvent::Paid(payment) => {
                let month = Month::of(happened.at);
                self.paid.insert(happened.stream_id, month);
                let sums = self.months.entry((payment.amount.currency(), month)).or_default();
                sums[0] += 1;
                sums[1] += payment.amount.minor_units().unwrap();
            }
            InvoiceEvent::Refunded { amount, .. } => {
                let month = self.paid[&happened.stream_id];
                self.months.get_mut(&(amount.currency(), month)).unwrap()[2] += amount.minor_units().unwrap();
            }
            _ => {}
        }
    }

    /// By plan: subscriptions on trial, active and past due, and what they are worth.
    fn plans(&self, currency: Currency) -> BTreeMap<Uuid, ([i64; 3], Money)> {
        let mut plans: BTreeMap<Uuid, ([i64; 3], Money)> = BTreeMap::new();
        for (subscription, _) in self.subscriptions.values() {
            let Some(contract) = subscription.current().filter(|c| c.items.currency() == currency) else {
                continue;
            };
            let plan = plans.entry(contract.items.plan_id).or_insert(([0; 3], Money::zero(currency)));
            plan.0[match contract.lifecycle.status {
                SubscriptionStatus::Trialing => 0,
                SubscriptionStatus::Active => 1,
                _ => 2,
            }] += 1;
            plan.1 = plan.1.plus(contract.mrr().unwrap().unwrap_or(Money::zero(currency))).unwrap();
        }
        plans
    }
}

/// Each month's last moment, and moments in the middle of days; in order.
fn moments() -> Vec<DateTime<Utc>> {
    let (start, end) = span();
    let months = Month::of(end - TimeDelta::days(1)).trailing(14);
    let mut moments: Vec<_> = months.iter().map(|month| month.end() - TimeDelta::microseconds(1)).collect();
    moments.extend((1..40).map(|n| start + TimeDelta::seconds(n * 907_919)));
    moments.sort();
    moments
}

async fn assert_as_replayed(
    lab: &Lab,
    replay: &Replay,
    currency: Currency,
    moment: DateTime<Utc>,
) -> MrrMonth {
    let mut db = lab.pool().acquire().await.unwrap();
    let figures = query::figures(&mut db, currency, AsOf::Past(moment)).await.unwrap();
    let booked: BTreeMap<Uuid, ([i64; 3], Money)> = figures
        .plans
        .iter()
        .map(|plan| (plan.plan_id, ([plan.trialing, plan.active, plan.past_due], plan.mrr)))
        .filter(|(_, (counts, _))| *counts != [0; 3])
        .collect();
    assert_eq!(booked, replay.plans(currency), "{currency} at {moment}");
    let month = Month::of(moment);
    let churned = replay.churned.get(&(currency, month)).copied().unwrap_or(0);
    assert_eq!((figures.month.month, figures.month.churned), (month, churned), "{currency} at {moment}");
    let months = query::months(&mut db, currency, AsOf::Past(moment)).await.unwrap();
    let shown: Vec<(Month, [i64; 3])> = months
        .iter()
        .map(|m| {
            (m.month, [m.payments, m.collected.minor_units().unwrap(), m.refunded.minor_units().unwrap()])
        })
        .collect();
    let replayed = |month| (month, replay.months.get(&(currency, month)).copied().unwrap_or_default());
    let wanted: Vec<_> = month.trailing(query::MONTHS_SHOWN).into_iter().map(replayed).collect();
    assert_eq!(shown, wanted, "{currency} at {moment}");
    figures.month
}

async fn rows(lab: &Lab) -> Vec<String> {
    let mut rows = Vec::new();
    for (table, key) in BOOKS {
        let sql = format!("SELECT to_jsonb(t)::text FROM read.{table} t ORDER BY {key}");
        let of_table: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(lab.pool()).await.unwrap();
        assert!(of_table.len() > 500, "{table} has {} rows", of_table.len());
        rows.extend(of_table);
    }
    rows
}

#[tokio::test]
async fn a_year_of_200_tenants_adds_up_at_every_moment_and_is_rebuilt_to_the_same_rows() {
    let lab = Lab::new().await;
    let history = history();
    write(&lab, &history).await;
    let projection = Arc::new(revenue::projection());
    fill(&lab, &projection).await;
    let (mut replay, mut coming) = (Replay::default(), history.iter().peekable());
    let mut year: BTreeMap<(Currency, Month), MrrMonth> = BTreeMap::new();
    for moment in moments() {
        while let Some(happened) = coming.next_if(|happened| happened.at <= moment) {
            replay.apply(happened);
        }
        for currency in [Currency::IDR, Currency::USD] {
            let month = assert_as_replayed(&lab, &replay, currency, moment).await;
            year.insert((currency, month.month), month);
        }
    }
    assert!(coming.next().is_none(), "the last moment is the end");
    for (key, month) in &year {
        // Each was last asked for at its end.
        if let Some(next) = year.get(&(key.0, month.month.next())) {
            assert_eq!(
                (next.opening, next.active_at_start),
                (month.closing().unwrap(), month.active_at_end())
            );
        }
    }
    assert_eventful(&history, year.into_values().filter(|month| month.currency() == Currency::IDR));
    let before = rows(&lab).await;
    rebuild::rebuild(&lab.store, &projection, |_| ()).await.unwrap();
    assert_eq!(rows(&lab).await, before);
    assert_drift_is_told(&lab).await;
}

/// Books that somebody has tampered with are not shown as figures.
async fn assert_drift_is_told(lab: &Lab) {
    let spoilt = "UPDATE read.revenue_subscription_days SET mrr = mrr + 1
         WHERE (log_id, currency, plan_id, day) IN (
             SELECT log_id, currency, plan_id, day FROM read.revenue_subscription_days WHERE currency = 'USD' LIMIT 1)";
    sqlx::query(spoilt).execute(lab.pool()).await.unwrap();
    let mut db = lab.pool().acquire().await.unwrap();
    let told = query::figures(&mut db, Currency::USD, AsOf::Now(span().1)).await;
    assert!(matches!(told, Err(RevenueError::Drift(_))), "{told:?}");
    query::figures(&mut db, Currency::IDR, AsOf::Now(span().1)).await.unwrap();
}

/// A quiet year would prove little.
fn assert_eventful(history: &[Happened], months: impl Iterator<Item = MrrMonth>) {
    let mut moved = [0_u64; 5];
    for month in months {
        let of_month = [month.new, month.expansion, month.reactivation, month.contraction, month.churn];
        for (total, amount) in moved.iter_mut().zip(of_month) {
            *total += u64::from(amount.is_positive());
        }
    }
    assert!(moved.iter().all(|months| *months >= 5), "months with each kind of movement: {moved:?}");
    let count =
        |event_type: &str| history.iter().filter(|happened| happened.event_type == event_type).count();
    for (event_type, least) in [
        ("subscription.renewed", 1_000),
        ("subscription.plan_changed", 100),
        ("subscription.addon_attached", 50),
        ("subscription.canceled", 50),
        ("subscription.payment_failed", 100),
        ("invoice.paid", 1_000),
        ("invoice.refunded", 50),
    ] {
        assert!(count(event_type) >= least, "{event_type}: {}", count(event_type));
    }
    let mut renewals: HashMap<Uuid, u32> = HashMap::new();
    for happened in history.iter().filter(|happened| happened.event_type == "subscription.renewed") {
        *renewals.entry(happened.tenant_id).or_default() += 1;
    }
    assert!(renewals.values().any(|times| *times >= 12), "somebody stays for twelve renewals");
}
