//! A tenant's invoices, and giving back what was paid.

use axum::http::StatusCode;
use domain::aggregate::Aggregate;
use domain::billing::{InvoiceLine, InvoiceStatus};
use domain::invoice::Invoice;
use domain::money::Money;
use garde::Validate;
use projections::documents::{self, Document};
use projections::revenue::query as revenue;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::MANAGE;
use super::wire::{AmountText, BillingInvoice, BillingInvoiceLine};
use crate::http::{Access, Answer, Body, File, Json, List, Path, Problem, Route, get, post};
use crate::invoice_pdf::{self, InvoiceDocument, Party};
use crate::{App, Ctx};

/// Invoices in one list.
const MAX_INVOICES: usize = 1_000;
const PDF: &str = "application/pdf";

pub(super) fn routes() -> [Route<App>; 2] {
    [
        get("/api/billing/invoices", "List invoices", MANAGE, list)
            .describe("newest first, without drafts; at most 1,000, then X-Total-Capped says so"),
        get("/api/billing/invoices/{id}/pdf", "Download invoice PDF", MANAGE, pdf)
            .answers(StatusCode::OK, PDF)
            .describe(
                "named after the invoice's number; the same bytes as long as nothing becomes of the invoice",
            ),
    ]
}

pub(super) fn admin_routes() -> [Route<App>; 1] {
    [post("/api/super-admin/billing/invoices/{id}/refund", "Refund an invoice", Access::Super, refund).describe(
        "only a paid one; amount defaults to the whole that is left: what became credit when the tenant changed to less is \
         not refunded as well. 409 for one that is not paid or of which nothing is left, and for more than is left of it; 422 \
         for an amount that is negative or can't be paid in the currency",
    )]
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct RefundRequest {
    /// With tax; more than 0.
    amount: Option<AmountText>,
    /// For the books and the gateway.
    #[garde(length(chars, max = 500))]
    reason: Option<String>,
}

async fn list(ctx: Ctx) -> Answer<List<BillingInvoice>> {
    let mut rows: Vec<(Uuid, sqlx::types::Json<Invoice>)> = sqlx::query_as(
        "SELECT id, doc FROM read.documents
         WHERE tenant_id = $1 AND collection = $2 AND doc ->> 'number' IS NOT NULL
         ORDER BY created_at DESC, id DESC LIMIT $3",
    )
    .bind(ctx.tenant_id())
    .bind(Invoice::STREAM)
    .bind(i64::try_from(MAX_INVOICES + 1).map_err(Problem::internal)?)
    .fetch_all(&mut *ctx.reader().await?)
    .await?;
    if rows.len() > MAX_INVOICES {
        rows.truncate(MAX_INVOICES);
        ctx.set_total_capped();
    }
    Ok(List(rows.into_iter().filter_map(|(id, doc)| shown(&ctx, ctx.tenant_id(), id, doc.0)).collect()))
}

async fn pdf(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<File> {
    let Document { state: invoice, .. } = ctx.document::<Invoice>(id).await?;
    let (Some(number), Some(draft)) = (invoice.number, invoice.draft) else {
        return Err(Problem::not_found("invoice"));
    };
    let buyer = Party {
        name: invoice.bill_to.name,
        address: invoice.bill_to.country.into_iter().collect(),
        ..Party::default()
    };
    let document = InvoiceDocument {
        number: Some(number.clone()),
        status: invoice.status,
        seller: ctx.app.seller().clone(),
        buyer,
        issued_at: invoice.finalized_at,
        due_at: invoice.due_at,
        paid_at: invoice.paid_at,
        refunded: invoice.refunded.unwrap_or(Money::zero(draft.amounts.currency())),
        payment_url: invoice
            .payment_request
            .filter(|_| invoice.status == InvoiceStatus::Open)
            .and_then(|request| request.payment_url),
        charges: draft.amounts,
        notes: Vec::new(),
    };
    // Some milliseconds of work, during which no other request would be served.
    let rendered = tokio::task::spawn_blocking(move || invoice_pdf::render(&document)).await;
    let bytes = rendered.map_err(Problem::internal)?.map_err(Problem::internal)?;
    Ok(File { content_type: PDF.to_owned(), download_as: Some(format!("{number}.pdf")), body: bytes.into() })
}

async fn refund(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Body(wish): Body<RefundRequest>,
) -> Answer<Json<BillingInvoice>> {
    let tenant_id = revenue::tenant_of_invoice(&mut *ctx.app.store().pool().acquire().await?, id).await?;
    let tenant_id = tenant_id.ok_or_else(|| Problem::not_found("invoice"))?;
    let amount = wish.amount.as_ref().map(|amount| amount.0.as_str());
    let refunded =
        ctx.app.billing().refund(&ctx.origin_in(tenant_id), id, amount, wish.reason.as_deref()).await?;
    ctx.settle(refunded.log_id, refunded.position).await;
    let mut db = ctx.app.store().pool().acquire().await?;
    let document = documents::get::<Invoice>(&mut db, tenant_id, id).await?;
    let invoice = document.and_then(|document| shown(&ctx, tenant_id, id, document.state));
    invoice.map(Json).ok_or_else(|| Problem::not_found("invoice"))
}

/// Nothing for a draft, which is no invoice yet.
pub(super) fn shown(ctx: &Ctx, tenant_id: Uuid, id: Uuid, state: Invoice) -> Option<BillingInvoice> {
    let given = state.given_back()?;
    let (number, draft, created_at) = (state.number?, state.draft?, state.created_at?);
    let amounts = draft.amounts;
    let (mut gateway_invoice_id, mut payment_url) = (None, None);
    if let Some(request) = state.payment_request {
        (gateway_invoice_id, payment_url) = (Some(request.gateway_invoice_id), request.payment_url);
    }
    Some(BillingInvoice {
        id,
        org_id: tenant_id,
        invoice_number: number,
        currency: amounts.currency().to_string(),
        subtotal: amounts.subtotal.into(),
        tax: amounts.tax.into(),
        total: amounts.total.into(),
        status: state.status.into(),
        retry_count: state.retries.into(),
        created_at,
        subscription_id: Some(draft.subscription_id),
        pdf_url: Some(format!("{}/api/billing/invoices/{id}/pdf", ctx.app.public_url())),
        gateway_invoice_id: gateway_invoice_id.or(state.payment.map(|payment| payment.gateway_payment_id)),
        payment_url: payment_url.filter(|_| state.status == InvoiceStatus::Open),
        last_retry_at: state.last_retry_at,
        paid_at: state.paid_at,
        due_date: state.due_at,
        amount_refunded: given.refunded.into(),
        amount_credited: given.credited.into(),
        lines: amounts.lines.into_iter().map(line).collect(),
    })
}

fn line(line: InvoiceLine) -> BillingInvoiceLine {
    BillingInvoiceLine {
        description: line.description,
        quantity: i64::try_from(line.quantity).unwrap_or(i64::MAX),
        unit_price: line.unit_price.into(),
        amount: line.amount.into(),
    }
}
