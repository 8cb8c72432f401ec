//! What 200 tenants do in a year, played through the rules of billing with a clock of its own: the events that it leaves
//! in the logs, without a server or a gateway.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use domain::aggregate::Aggregate;
use domain::billing::coupon::{Discount, DiscountType};
use domain::billing::invoice::{PeriodCharge, PeriodInvoice, period_invoice};
use domain::billing::lifecycle::Action;
use domain::billing::overage::OverageMeter;
use domain::billing::plan::default_annual_price;
use domain::billing::proration::{Change, settle};
use domain::billing::{AddonItem, AddonPrices, AppliedCoupon, Interval, Period, PlanPrices, RecurringItems};
use domain::event::{Context, EventBody};
use domain::invoice::{Amounts, BillTo, Drafted, Invoice, InvoiceCause, InvoiceEvent, Payment, Refund};
use domain::money::{Currency, Money};
use domain::subscription::{
    ItemsChanged, PeriodBegan, Returned, Settled, Started, Subscription, SubscriptionEvent,
};
use serde_json::Value;
use uuid::Uuid;

/// An event before it has a place in a log.
pub struct Happened {
    pub at: DateTime<Utc>,
    pub tenant_id: Uuid,
    pub stream_type: &'static str,
    pub stream_id: Uuid,
    pub event_type: String,
    pub payload: Value,
}

/// Chances that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }

    /// `percent` times in a hundred.
    fn happens(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }
}

/// An invoice as far as the tenant remembers it.
struct Bill {
    amounts: Amounts,
    is_paid: bool,
    refunded: Money,
}

/// One tenant, from its start on.
pub struct Life {
    tenant_id: Uuid,
    now: DateTime<Utc>,
    dice: Dice,
    subscription: Subscription,
    version: i64,
    bills: BTreeMap<Uuid, Bill>,
    ids: u128,
    happened: Vec<Happened>,
}

/// The plans of the platform: three in rupiah, two in dollars, cheapest first.
fn plans(currency: Currency) -> Vec<RecurringItems> {
    let prices: &[(&str, i64, i64)] = match currency {
        Currency::USD => &[("Basic", 1_900, 200), ("Pro", 7_900, 150)],
        _ => &[("Starter", 299_000, 25_000), ("Growth", 899_000, 20_000), ("Scale", 2_999_000, 15_000)],
    };
    let plan = |(name, base, per_agent): &(&str, i64, i64)| {
        let base_monthly = Money::from_minor_units(*base, currency);
        let prices = PlanPrices {
            base_monthly,
            base_annual: default_annual_price(base_monthly).unwrap(),
            per_agent: Money::from_minor_units(*per_agent, currency),
            overage_message: Default::default(),
        };
        RecurringItems {
            plan_id: Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()),
            plan_name: (*name).to_owned(),
            prices,
            interval: Interval::Monthly,
            seats: 1,
            addons: Vec::new(),
        }
    };
    prices.iter().map(plan).collect()
}

impl Life {
    /// The `number`-th tenant; every eighth pays in dollars.
    pub fn begin(number: u64, tenant_id: Uuid, start: DateTime<Utc>) -> Self {
        let mut life = Self {
            tenant_id,
            now: start + TimeDelta::seconds(i64::try_from(number * 7_919 % 86_400).unwrap()),
            dice: Dice(number),
            subscription: Subscription::default(),
            version: 0,
            bills: BTreeMap::new(),
            ids: tenant_id.as_u128() << 40,
            happened: Vec::new(),
        };
        let currency = if number.is_multiple_of(8) { Currency::USD } else { Currency::IDR };
        life.subscribe(currency);
        life
    }

    /// What happens until then, in order.
    pub fn until(mut self, end: DateTime<Utc>) -> Vec<Happened> {
        while self.now < end {
            let Some(contract) = self.subscription.current() else {
                self.now += TimeDelta::days(20 + i64::try_from(self.dice.roll(40)).unwrap());
                if self.now >= end || self.dice.happens(40) {
                    break;
                }
                let currency = self.subscription.contract.as_ref().unwrap().items.currency();
                self.subscribe(currency);
                continue;
            };
            let due = contract.lifecycle.next_action().expect("it goes on until it is canceled");
            if due.at - self.now > TimeDelta::days(3) && self.dice.happens(30) {
                self.now += (due.at - self.now) / 2;
                self.now -= TimeDelta::nanoseconds(self.now.timestamp_subsec_nanos().into());
                self.act_on_a_whim();
            } else {
                self.now = self.now.max(due.at);
                self.carry_out(due.action);
            }
        }
        self.happened.retain(|happened| happened.at < end);
        self.happened
    }

    fn subscribe(&mut self, currency: Currency) {
        let mut plans = plans(currency);
        let choice = usize::try_from(self.dice.roll(10)).unwrap() * plans.len() / 14;
        let mut items = plans.swap_remove(choice);
        items.seats = 1 + u32::try_from(self.dice.roll(12)).unwrap();
        if self.dice.happens(15) {
            items.interval = Interval::Annual;
        }
        let coupon = self.dice.happens(20).then(|| AppliedCoupon {
            coupon_id: self.new_id(),
            code: "WELCOME".to_owned(),
            discount: Discount::parse(DiscountType::Percentage, "12.5", currency).unwrap(),
            // Lost with the change to another plan.
            applicable_plans: vec![items.plan_id],
        });
        if self.subscription.contract.is_none() {
            return self.change(SubscriptionEvent::Started(Box::new(Started { items, coupon })));
        }
        let period = Period::containing(self.now, self.now, items.interval);
        let began = self.draw_up(items, coupon.as_ref(), period);
        self.change(SubscriptionEvent::Returned(Box::new(Returned { coupon, began })));
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::EndTrial { period } => self.charge(period, SubscriptionEvent::Activated),
            Action::Renew { period } => self.charge(period, SubscriptionEvent::Renewed),
            Action::Finalize { invoice_id } => {
                let (number, due_at) = (invoice_id.to_string(), self.now);
                let bill_to = BillTo::default();
                self.bill(invoice_id, &InvoiceEvent::Finalized { sequence: 1, number, bill_to, due_at });
                self.collect(invoice_id, 0, 90);
            }
            Action::RetryPayment { invoice_id, attempt } => self.collect(invoice_id, attempt, 45),
            Action::GiveUpWaiting { invoice_id } => self.collect(invoice_id, 0, 0),
            Action::Cancel { reason } => self.change(SubscriptionEvent::Canceled { reason }),
        }
    }

    fn charge(&mut self, period: Period, event: fn(Box<PeriodBegan>) -> SubscriptionEvent) {
        let contract = self.subscription.current().unwrap();
        let mut items = contract.items.clone();
        if self.dice.happens(25) {
            items.seats = (items.seats + 2).saturating_sub(u32::try_from(self.dice.roll(4)).unwrap()).max(1);
        }
        let contract = self.subscription.current().unwrap();
        let coupon = contract.coupon_for(items.plan_id).cloned();
        let began = self.draw_up(items, coupon.as_ref(), period);
        self.change(event(Box::new(began)));
    }

    fn draw_up(
        &mut self,
        items: RecurringItems,
        coupon: Option<&AppliedCoupon>,
        period: Period,
    ) -> PeriodBegan {
        let credit_balance = self.subscription.credit(items.currency());
        let charge = PeriodCharge { items: &items, period, coupon, overage: &[], credit_balance };
        let PeriodInvoice { invoice, credit_balance, prepaid } = period_invoice(&charge).unwrap();
        let invoice_id = self.draft(invoice, InvoiceCause::Period, period);
        let overage = OverageMeter::starting(self.now, 0);
        PeriodBegan { period, items, invoice_id, prepaid, credit_balance, overage }
    }

    fn draft(&mut self, amounts: Amounts, cause: InvoiceCause, period: Period) -> Uuid {
        let invoice_id = self.new_id();
        let refunded = Money::zero(amounts.currency());
        self.bills.insert(invoice_id, Bill { amounts: amounts.clone(), is_paid: false, refunded });
        let subscription_id = self.tenant_id;
        self.bill(
            invoice_id,
            &InvoiceEvent::Drafted(Box::new(Drafted { subscription_id, cause, amounts, period })),
        );
        invoice_id
    }

    fn collect(&mut self, invoice_id: Uuid, attempt: u32, percent: u64) {
        let bill = self.bills.get_mut(&invoice_id).unwrap();
        if bill.amounts.total.is_zero() || self.dice.happens(percent) {
            bill.is_paid = true;
            let payment = Payment {
                gateway: "manual".to_owned(),
                gateway_payment_id: invoice_id.to_string(),
                amount: bill.amounts.total,
            };
            self.bill(invoice_id, &InvoiceEvent::Paid(payment));
            self.change(SubscriptionEvent::PaymentReceived { invoice_id });
        } else {
            let reason = "declined".to_owned();
            self.bill(invoice_id, &InvoiceEvent::PaymentFailed { attempt, gateway: None, reason });
            self.change(SubscriptionEvent::PaymentFailed { invoice_id, attempt });
        }
    }

    fn act_on_a_whim(&mut self) {
        match self.dice.roll(10) {
            0 => self.change(SubscriptionEvent::CancellationRequested),
            1 => self.change(SubscriptionEvent::Resumed),
            2..=3 => self.give_back(),
            4..=5 => self.attach_addon(),
            _ => self.change_plan(),
        }
    }

    fn change_plan(&mut self) {
        let items = &self.subscription.current().unwrap().items;
        let mut plans = plans(items.currency());
        let mut wanted =
            plans.swap_remove(usize::try_from(self.dice.roll(u64::try_from(plans.len()).unwrap())).unwrap());
        (wanted.seats, wanted.addons) = (items.seats, items.addons.clone());
        wanted.interval = if self.dice.happens(10) { Interval::Annual } else { items.interval };
        if let Some(change) = self.settled(wanted) {
            self.change(SubscriptionEvent::PlanChanged(change));
        }
    }

    fn attach_addon(&mut self) {
        let items = self.subscription.current().unwrap().items.clone();
        let monthly = Money::from_minor_units(
            if items.currency() == Currency::USD { 500 } else { 50_000 },
            items.currency(),
        );
        let (attachment_id, addon_id) = (self.new_id(), Uuid::from_u128(0xadd));
        let prices = AddonPrices { monthly, annual: default_annual_price(monthly).unwrap() };
        let mut wanted = items;
        wanted.addons.push(AddonItem { addon_id, name: "Storage".to_owned(), prices, quantity: 2 });
        if let Some(change) = self.settled(wanted) {
            self.change(SubscriptionEvent::AddonAttached { attachment_id, addon_id, change });
        }
    }

    /// What a change comes to; nothing while an invoice is open, as then there is nothing to settle with.
    fn settled(&mut self, items: RecurringItems) -> Option<Box<ItemsChanged>> {
        let contract = self.subscription.current().unwrap();
        let Some(prepaid) = contract.prepaid else {
            return Some(Box::new(ItemsChanged { items, settled: None }));
        };
        if contract.lifecycle.is_collecting() || !contract.lifecycle.dunning.is_empty() {
            return None;
        }
        let settlement = settle(&Change {
            prepaid,
            from: &contract.items,
            to: &items,
            coupon: contract.coupon_for(items.plan_id),
            period: contract.lifecycle.period,
            anchor: contract.lifecycle.anchor,
            credit_balance: self.subscription.credit(items.currency()),
            at: self.now,
        });
        let settlement = settlement.unwrap();
        let invoice = settlement.invoice.clone();
        let invoice_id = invoice.map(|invoice| self.draft(invoice, InvoiceCause::Change, settlement.period));
        let settled = Settled::of(&settlement, invoice_id, OverageMeter::starting(self.now, 0));
        Some(Box::new(ItemsChanged { items, settled: Some(settled) }))
    }

    /// A third, the half or all that is left of some paid invoice.
    fn give_back(&mut self) {
        let paid =
            self.bills.iter_mut().rev().find(|(_, bill)| bill.is_paid && bill.refunded != bill.amounts.total);
        let Some((invoice_id, bill)) = paid.map(|(id, bill)| (*id, bill)) else { return };
        let left = bill.amounts.total.minus(bill.refunded).unwrap();
        let amount = left.share(1, 1 + i64::try_from(self.dice.roll(3)).unwrap()).unwrap();
        bill.refunded = bill.refunded.plus(amount).unwrap();
        let refund_id = self.new_id();
        let refund = Refund { refund_id, amount, reason: None };
        self.bill(invoice_id, &InvoiceEvent::RefundRequested(refund));
        self.bill(invoice_id, &InvoiceEvent::Refunded { refund_id, amount, gateway_refund_id: None });
    }

    fn change(&mut self, event: SubscriptionEvent) {
        self.version += 1;
        let context = Context { stream_id: self.tenant_id, version: self.version, at: self.now };
        self.subscription.evolve(&event, context);
        self.record(Subscription::STREAM, self.tenant_id, &event);
    }

    fn bill(&mut self, invoice_id: Uuid, event: &InvoiceEvent) {
        self.record(Invoice::STREAM, invoice_id, event);
    }

    fn record(&mut self, stream_type: &'static str, stream_id: Uuid, event: &impl EventBody) {
        let (event_type, payload) = event.encode();
        let (at, tenant_id) = (self.now, self.tenant_id);
        self.happened.push(Happened { at, tenant_id, stream_type, stream_id, event_type, payload });
    }

    fn new_id(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(self.ids)
    }
}
