//! Money given back: once, whatever the gateway's mood and whoever asks how often.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use commands::CommandError;
use commands::billing::Billing;
use commands::payment_gateway::{
    Charge, ChargeOutcome, GatewayError, Gateways, MethodRegistration, PaymentGateway, RefundOrder,
    RefundOutcome,
};
use commands::store::{Decision, Origin, Store};
use domain::billing::{InvoiceLine, InvoiceStatus, LineKind, Period};
use domain::event::{Actor, Metadata};
use domain::invoice::{Amounts, Drafted, Invoice, InvoiceCause, InvoiceEvent, Payment};
use domain::money::{Currency, Money};
use futures::future::join_all;
use uuid::Uuid;

use crate::projections::open;
use crate::store::Logs;

const GATEWAY: &str = "bank";

/// A gateway as they are: it knows an order by its key, and sometimes does not answer.
#[derive(Default)]
struct Bank {
    /// Orders carried out, by their keys.
    given_back: Mutex<Vec<(String, Money)>>,
    silent: Mutex<bool>,
}

impl Bank {
    fn is_silent(&self, silent: bool) {
        *self.silent.lock().unwrap_or_else(PoisonError::into_inner) = silent;
    }

    fn orders(&self) -> Vec<(String, Money)> {
        self.given_back.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl PaymentGateway for Bank {
    fn name(&self) -> &'static str {
        GATEWAY
    }

    async fn register_method(&self, _: &MethodRegistration) -> Result<Option<String>, GatewayError> {
        Ok(None)
    }

    async fn charge(&self, _: &Charge) -> Result<ChargeOutcome, GatewayError> {
        Err(GatewayError::Unavailable("it is about refunds".to_owned()))
    }

    async fn refund(&self, order: &RefundOrder) -> Result<RefundOutcome, GatewayError> {
        let mut orders = self.given_back.lock().unwrap_or_else(PoisonError::into_inner);
        if !orders.iter().any(|(key, _)| *key == order.idempotency_key) {
            orders.push((order.idempotency_key.clone(), order.amount));
        }
        if *self.silent.lock().unwrap_or_else(PoisonError::into_inner) {
            // It was carried out, and the answer is lost.
            return Err(GatewayError::Unavailable("the connection broke".to_owned()));
        }
        Ok(RefundOutcome::Refunded { refund_id: format!("re-{}", order.idempotency_key) })
    }
}

struct Scene {
    store: Store,
    billing: Billing,
    bank: Arc<Bank>,
    tenant_id: Uuid,
    invoice_id: Uuid,
    _logs: Logs,
}

fn idr(amount: i64) -> Money {
    Money::rounded(amount.into(), Currency::IDR)
}

impl Scene {
    /// An invoice over 111,000 rupiah that was paid through the bank.
    async fn start() -> Self {
        let logs = Logs::start().await;
        let store = open(&logs.database.owner_url).await;
        let bank = Arc::new(Bank::default());
        let figures = Arc::new(projections::billing::ReadModels::new(store.pool().clone()));
        let billing = Billing::new(store.clone(), Gateways::new(vec![bank.clone()]), figures);
        let (tenant_id, invoice_id, now) = (Uuid::new_v4(), Uuid::new_v4(), store.clock().now());
        let lines = vec![InvoiceLine::flat(LineKind::Plan, "Starter", idr(100_000), None)];
        let drafted = InvoiceEvent::Drafted(Box::new(Drafted {
            subscription_id: Uuid::new_v4(),
            cause: InvoiceCause::Period,
            amounts: Amounts::of(Currency::IDR, lines).expect("an invoice"),
            period: Period { start: now, end: now },
        }));
        let scene = Self { store, billing, bank, tenant_id, invoice_id, _logs: logs };
        let drawn = scene
            .store
            .execute::<Invoice>(&scene.origin(), invoice_id, |_| Ok(Decision::one(drafted.clone())))
            .await;
        drawn.expect("a draft");
        scene.billing.finalize(tenant_id, invoice_id).await.expect("a number");
        let payment = Payment {
            gateway: GATEWAY.to_owned(),
            gateway_payment_id: "pay-1".to_owned(),
            amount: idr(111_000),
        };
        scene.billing.record_payment(tenant_id, invoice_id, &payment).await.expect("a payment");
        scene
    }

    fn origin(&self) -> Origin {
        Origin::new(self.tenant_id, Metadata::new(Actor::system(), Uuid::new_v4()))
    }

    async fn refund(&self, amount: Option<&str>) -> Result<(), &'static str> {
        match self.billing.refund(&self.origin(), self.invoice_id, amount, None).await {
            Ok(_) => Ok(()),
            Err(CommandError::Refused(refusal)) => Err(refusal.code),
            Err(error) => panic!("{error}"),
        }
    }

    async fn invoice(&self) -> Invoice {
        self.store.load(self.tenant_id, self.invoice_id).await.expect("an invoice")
    }
}

#[tokio::test]
async fn of_many_refunds_at_once_no_more_is_given_back_than_was_paid() {
    let scene = Scene::start().await;
    let outcomes = join_all((0..10).map(|_| scene.refund(Some("37000")))).await;
    let mut given = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    for refused in outcomes.iter().filter_map(|outcome| outcome.err()) {
        assert!(["refund_pending", "already_refunded", "contended"].contains(&refused), "{refused}");
    }
    while scene.refund(Some("37000")).await.is_ok() {
        given += 1;
    }
    assert_eq!((given, scene.bank.orders().len()), (3, 3));
    assert_eq!(
        (scene.invoice().await.status, scene.invoice().await.refunded),
        (InvoiceStatus::Refunded, Some(idr(111_000)))
    );
}

#[tokio::test]
async fn a_refund_whose_answer_was_lost_is_asked_for_again_and_given_back_once() {
    let scene = Scene::start().await;
    scene.bank.is_silent(true);
    assert_eq!(scene.refund(None).await, Err("refund_pending"));
    assert_eq!(scene.refund(None).await, Err("refund_pending"), "one at a time");
    scene.bank.is_silent(false);
    scene.billing.carry_out_refund(scene.tenant_id, scene.invoice_id).await.expect("it is given back");
    scene.billing.carry_out_refund(scene.tenant_id, scene.invoice_id).await.expect("nothing is left to do");
    assert_eq!(scene.bank.orders().len(), 1);
    assert_eq!(scene.invoice().await.status, InvoiceStatus::Refunded);
}

#[tokio::test]
async fn a_refund_made_at_the_bank_does_not_replace_the_one_that_was_asked_for() {
    let scene = Scene::start().await;
    scene.bank.is_silent(true);
    assert_eq!(scene.refund(Some("37000")).await, Err("refund_pending"));
    let (tenant_id, invoice_id) = (scene.tenant_id, scene.invoice_id);
    let by_hand = scene.billing.record_refund(tenant_id, invoice_id, "by hand", idr(11_000)).await;
    by_hand.expect("it is taken down");
    scene.bank.is_silent(false);
    scene.billing.carry_out_refund(tenant_id, invoice_id).await.expect("it is given back");
    assert_eq!(scene.invoice().await.refunded, Some(idr(48_000)));
}
