//! A downgrade that makes credit of an invoice, and a refund of the same invoice at the same moment: the money is given back
//! once.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use commands::payment_gateway::{
    Charge, ChargeOutcome, GatewayError, Gateways, MethodRegistration, PaymentGateway, RefundOrder,
    RefundOutcome,
};
use commands::store::Decision;
use commands::subscription;
use domain::billing::lifecycle::CancelReason;
use domain::billing::refund::net_of_tax;
use domain::billing::{Interval, PlanPrices, RecurringItems};
use domain::invoice::Invoice;
use domain::money::{Currency, Money};
use domain::subscription::{Started, Subscription, SubscriptionEvent};
use uuid::Uuid;

use super::deleted_plans::{Scene, code, origin};

/// Takes and gives all that it is asked for, and a little time.
struct Till;

const A_MOMENT: Duration = Duration::from_millis(2);

#[async_trait]
impl PaymentGateway for Till {
    fn name(&self) -> &'static str {
        "till"
    }

    async fn register_method(&self, _: &MethodRegistration) -> Result<Option<String>, GatewayError> {
        Ok(None)
    }

    async fn charge(&self, charge: &Charge) -> Result<ChargeOutcome, GatewayError> {
        Ok(ChargeOutcome::Paid { payment_id: charge.idempotency_key.clone() })
    }

    async fn refund(&self, order: &RefundOrder) -> Result<RefundOutcome, GatewayError> {
        tokio::time::sleep(A_MOMENT).await;
        Ok(RefundOutcome::Refunded { refund_id: order.idempotency_key.clone() })
    }
}

/// A tenant that was subscribed before, so that it pays at once.
async fn former_customer(scene: &Scene) -> Uuid {
    let (tenant_id, free) = (Uuid::new_v4(), Money::zero(Currency::IDR));
    let items = RecurringItems {
        plan_id: Uuid::new_v4(),
        plan_name: "Old".to_owned(),
        prices: PlanPrices {
            base_monthly: free,
            base_annual: free,
            per_agent: free,
            overage_message: 0.into(),
        },
        interval: Interval::Monthly,
        seats: 1,
        addons: Vec::new(),
    };
    let past = [
        SubscriptionEvent::Started(Box::new(Started { items, coupon: None })),
        SubscriptionEvent::Canceled { reason: CancelReason::Requested },
    ];
    let (origin, id) = (origin(tenant_id), subscription::id_of(tenant_id));
    let before = scene.store.execute::<Subscription>(&origin, id, |_| Ok(Decision::all(past.to_vec())));
    before.await.expect("a past");
    tenant_id
}

#[tokio::test]
async fn a_refund_and_a_downgrade_at_the_same_moment_give_the_money_back_once() {
    const ROUNDS: u32 = 10;
    let till = Arc::new(Till);
    let scene = Scene::start(Gateways::new(vec![till.clone()]).asking(till)).await;
    let (small, large) = (scene.plan(100_000).await, scene.plan(900_000).await);
    let (mut refunds, mut credits) = (0, 0);
    for round in 0..ROUNDS {
        let tenant_id = former_customer(&scene).await;
        assert_eq!(scene.subscribe(tenant_id, small).await, Ok(()));
        let upgraded = scene.billing.change_plan(&origin(tenant_id), large, None).await.expect("an upgrade");
        let invoice_id = upgraded.value.1.expect("an invoice");
        let refund = async {
            tokio::time::sleep(A_MOMENT * round / 4).await;
            code(scene.billing.refund(&origin(tenant_id), invoice_id, None, None).await)
        };
        let downgrade = async { code(scene.billing.change_plan(&origin(tenant_id), small, None).await) };
        let (refund, downgrade) = tokio::join!(refund, downgrade);
        refunds += u32::from(refund.is_ok());
        credits += u32::from(downgrade.is_ok());

        let invoice: Invoice = scene.store.load(tenant_id, invoice_id).await.expect("an invoice");
        let (amounts, given) = (invoice.amounts().expect("amounts"), invoice.given_back().expect("amounts"));
        let net = net_of_tax(given.refunded, amounts.subtotal, amounts.total).expect("an amount");
        let both = net.plus(given.credited).expect("an amount");
        assert!(
            both.amount() <= amounts.subtotal.amount(),
            "{given:?} of {amounts:?}: {refund:?}, {downgrade:?}"
        );
        let id = subscription::id_of(tenant_id);
        let state: Subscription = scene.store.load(tenant_id, id).await.expect("a state");
        let held = net.plus(state.credit(Currency::IDR)).expect("an amount");
        assert!(held.amount() <= amounts.subtotal.amount(), "{held} of {}", amounts.subtotal);
    }
    println!("{refunds} refunds and {credits} downgrades in {ROUNDS} rounds");
}
