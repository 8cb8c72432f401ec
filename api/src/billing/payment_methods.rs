//! Payment methods: by what a tenant pays, as its payment gateway knows them. Card numbers never come here.

use chrono::{DateTime, Utc};
use commands::payment_method::{self, NewMethod};
use domain::payment_method::PaymentMethod as State;
use garde::Validate;
use projections::documents::Document;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::MANAGE;
use crate::agents::required_text;
use crate::http::{Answer, Body, Created, Json, List, Path, Route, delete, get, post};
use crate::resource::Deleted;
use crate::{App, Ctx};

pub(super) fn routes() -> [Route<App>; 3] {
    let all = "/api/billing/payment-methods";
    [
        get(all, "List payment methods", MANAGE, list),
        post(all, "Add a payment method", MANAGE, add).describe(
            "the first one is the default, and is_default true makes it so; 409 for one that is there already",
        ),
        delete("/api/billing/payment-methods/{id}", "Delete a payment method", MANAGE, remove)
            .describe("of the others the newest becomes the default"),
    ]
}

#[derive(Serialize, ToSchema)]
struct PaymentMethod {
    id: Uuid,
    org_id: Uuid,
    /// `manual`, `stripe` or `xendit`.
    gateway: String,
    /// The gateway's own name for it.
    gateway_payment_method_id: String,
    /// Such as `credit_card`, `e_wallet`, `virtual_account`, `bank_transfer`.
    r#type: String,
    /// For people, such as `Visa 4242`.
    label: String,
    /// Charged unless another one is asked for.
    is_default: bool,
    created_at: DateTime<Utc>,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct AddPaymentMethod {
    /// `stripe` or `xendit` where it is set up; `manual` where none is.
    gateway: String,
    /// The gateway's own name for it, such as Stripe's `pm_…`.
    #[garde(length(chars, min = 1, max = 255))]
    gateway_payment_method_id: String,
    /// Such as `credit_card`, `e_wallet`, `virtual_account`, `bank_transfer`.
    #[garde(length(chars, min = 1, max = 50))]
    r#type: String,
    /// For people; the type unless given.
    #[garde(length(chars, min = 1, max = 200))]
    label: Option<String>,
    is_default: Option<bool>,
}

async fn list(ctx: Ctx) -> Answer<List<PaymentMethod>> {
    let methods = ctx.documents::<State>().await?.into_iter();
    Ok(List(methods.map(|method| shown(&ctx, method)).collect()))
}

async fn add(ctx: Ctx, Body(new): Body<AddPaymentMethod>) -> Answer<Created<PaymentMethod>> {
    let id = ctx.new_id(1);
    let method = NewMethod {
        gateway: new.gateway,
        gateway_payment_method_id: required_text(
            "gateway_payment_method_id",
            &new.gateway_payment_method_id,
        )?,
        label: new.label.unwrap_or_else(|| new.r#type.clone()),
        kind: required_text("type", &new.r#type)?,
        is_default: new.is_default.unwrap_or(false),
    };
    let others = ctx.documents::<State>().await?;
    let of_gateway = |other: &&Document<State>| other.state.gateway == method.gateway && other.id != id;
    if others
        .iter()
        .filter(of_gateway)
        .any(|other| other.state.gateway_payment_method_id == method.gateway_payment_method_id)
    {
        return Err(payment_method::on_file().into());
    }
    let customer_id = others.iter().rev().find(of_gateway);
    let customer_id = customer_id.and_then(|other| other.state.gateway_customer_id.clone());
    let added = ctx.app.billing().add_payment_method(&ctx.origin(), id, &method, customer_id).await?;
    ctx.settle(added.log_id, added.position).await;
    Ok(Created(shown(&ctx, ctx.document::<State>(id).await?)))
}

async fn remove(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Json<Deleted>> {
    ctx.document::<State>(id).await?;
    let others = ctx.documents::<State>().await?;
    let heir = others.iter().rev().find(|other| other.id != id).map(|other| (other.id, other.version));
    let removed = ctx.app.billing().remove_payment_method(&ctx.origin(), id, heir).await?;
    ctx.settle(removed.log_id, removed.position).await;
    Ok(Json(Deleted::new("payment method", id)))
}

fn shown(ctx: &Ctx, method: Document<State>) -> PaymentMethod {
    let State { gateway, gateway_payment_method_id, kind, label, is_default, .. } = method.state;
    PaymentMethod {
        id: method.id,
        org_id: ctx.tenant_id(),
        gateway,
        gateway_payment_method_id,
        r#type: kind,
        label,
        is_default,
        created_at: method.created_at,
    }
}
