//! A plan that is deleted while tenants subscribe to it, with a read model that knows of nobody: the log alone must tell.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use commands::billing::{Billing, Figures, Subscribe};
use commands::payment_gateway::Gateways;
use commands::store::{Origin, Store};
use commands::{CommandError, plan, subscription};
use domain::aggregate::Aggregate;
use domain::billing::overage::Usage;
use domain::billing::plan::default_annual_price;
use domain::billing::{Limits, Month, PlanPrices};
use domain::event::{Actor, Metadata, PLATFORM_TENANT};
use domain::money::{Currency, Money};
use domain::plan::{Plan, PlanTerms};
use domain::subscription::Subscription;
use futures::future::join_all;
use uuid::Uuid;

use crate::projections::open;
use crate::store::Logs;

/// As read models are that lag behind.
struct Late;

#[async_trait]
impl Figures for Late {
    async fn messages(&self, _: Uuid, _: &[Month]) -> Result<Usage, CommandError> {
        Ok(Usage::new())
    }

    async fn cheapest_plan(&self) -> Result<Option<Uuid>, CommandError> {
        Ok(None)
    }

    async fn is_plan_in_use(&self, _: Uuid) -> Result<bool, CommandError> {
        Ok(false)
    }
}

pub(super) struct Scene {
    pub(super) store: Store,
    pub(super) billing: Billing,
    _logs: Logs,
}

pub(super) fn origin(tenant_id: Uuid) -> Origin {
    Origin::new(tenant_id, Metadata::new(Actor::system(), Uuid::new_v4()))
}

/// The code of a refusal.
pub(super) fn code<T>(outcome: Result<T, CommandError>) -> Result<(), &'static str> {
    match outcome {
        Ok(_) => Ok(()),
        Err(CommandError::Refused(refusal)) => Err(refusal.code),
        Err(error) => panic!("{error}"),
    }
}

impl Scene {
    pub(super) async fn start(gateways: Gateways) -> Self {
        let logs = Logs::start().await;
        let store = open(&logs.database.owner_url).await;
        let billing = Billing::new(store.clone(), gateways, Arc::new(Late));
        Self { store, billing, _logs: logs }
    }

    /// A plan for so many rupiah a month.
    pub(super) async fn plan(&self, monthly: i64) -> Uuid {
        let id = Uuid::new_v4();
        let base_monthly = Money::rounded(monthly.into(), Currency::IDR);
        let terms = PlanTerms {
            name: format!("Plan for {monthly}"),
            slug: id.to_string(),
            prices: PlanPrices {
                base_monthly,
                base_annual: default_annual_price(base_monthly).unwrap(),
                per_agent: Money::zero(Currency::IDR),
                overage_message: 0.into(),
            },
            limits: Limits::default(),
            features: serde_json::Map::new(),
            is_active: true,
            sort_order: 0,
        };
        let platform = origin(PLATFORM_TENANT);
        let made = self.store.execute::<Plan>(&platform, id, |state| plan::create(state, id, &terms));
        made.await.expect("a plan");
        id
    }

    pub(super) async fn subscribe(&self, tenant_id: Uuid, plan_id: Uuid) -> Result<(), &'static str> {
        let wish = Subscribe { plan_id: Some(plan_id), ..Subscribe::default() };
        code(self.billing.subscribe(&origin(tenant_id), &wish).await)
    }

    async fn delete(&self, plan_id: Uuid) -> Result<(), &'static str> {
        code(self.billing.delete_plan(&origin(PLATFORM_TENANT), plan_id).await)
    }

    async fn plan_of(&self, tenant_id: Uuid) -> Option<Uuid> {
        let state: Subscription =
            self.store.load(tenant_id, subscription::id_of(tenant_id)).await.expect("a state");
        state.current().map(|contract| contract.items.plan_id)
    }
}

#[tokio::test]
async fn a_plan_stays_as_long_as_someone_is_subscribed_to_it() {
    let scene = Scene::start(Gateways::default()).await;
    let (plan, other, tenant_id) = (scene.plan(100_000).await, scene.plan(100_000).await, Uuid::new_v4());
    assert_eq!(scene.subscribe(tenant_id, plan).await, Ok(()));
    assert_eq!(scene.delete(plan).await, Err("in_use"));
    // A refused deletion leaves nothing behind: others may come.
    assert_eq!(scene.subscribe(Uuid::new_v4(), other).await, Ok(()));
    let changed = scene.billing.change_plan(&origin(tenant_id), other, None).await;
    assert_eq!(code(changed), Ok(()));
    assert_eq!(scene.delete(other).await, Err("in_use"));
    assert_eq!(scene.delete(plan).await, Ok(()), "the only one who had it has left it");
    assert_eq!(scene.subscribe(Uuid::new_v4(), plan).await, Err("invalid"));
    assert_eq!(code(scene.billing.change_plan(&origin(tenant_id), plan, None).await), Err("invalid"));
    assert_eq!(scene.delete(plan).await, Err("not_found"));
}

#[tokio::test]
async fn a_deletion_and_subscriptions_at_the_same_moment_never_both_succeed() {
    const ROUNDS: u32 = 12;
    /// Each round a little later, so that some deletions come before, some between and some after.
    const STEP: Duration = Duration::from_micros(700);
    let scene = Scene::start(Gateways::default()).await;
    let (mut kept, mut deleted) = (0, 0);
    for round in 0..ROUNDS {
        let plan_id = scene.plan(100_000).await;
        let tenants: Vec<Uuid> = (0..4).map(|_| Uuid::new_v4()).collect();
        let subscribing = join_all(tenants.iter().map(|tenant| scene.subscribe(*tenant, plan_id)));
        let deletion = async {
            tokio::time::sleep(STEP * round).await;
            scene.delete(plan_id).await
        };
        let (subscribed, deletion) = tokio::join!(subscribing, deletion);
        let mut on_it = 0;
        for (tenant_id, outcome) in tenants.iter().zip(&subscribed) {
            let has_it = scene.plan_of(*tenant_id).await == Some(plan_id);
            assert_eq!(has_it, outcome.is_ok(), "{outcome:?}");
            on_it += usize::from(has_it);
        }
        let plan: Plan = scene.store.load(PLATFORM_TENANT, plan_id).await.expect("a state");
        assert_eq!(plan.exists(), deletion.is_err(), "{deletion:?}");
        assert!(plan.exists() || on_it == 0, "{on_it} are subscribed to a plan that is gone");
        if plan.exists() { kept += 1 } else { deleted += 1 }
    }
    println!("kept {kept} times, deleted {deleted} times");
}
