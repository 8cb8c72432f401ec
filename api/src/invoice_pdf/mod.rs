//! The invoice as a PDF: what a tenant's bookkeeper files, and a tax office may ask for.
//!
//! [`render`] is a pure function of the document: the same invoice gives the same bytes, whoever asks for it and
//! when. It is made in three steps, each in a file of its own: [`format`] writes amounts and dates as they are written
//! on invoices, [`layout`] places them on pages, [`draw`] makes a PDF of the pages. [`text`] measures and shapes, for
//! both of the last.
//!
//! The typeface is part of the program (`api/fonts`, with its licence), as a server has none that could be relied on.
//! It covers Latin, Greek and Cyrillic. What it lacks, such as Chinese characters, is shown as a box; typefaces for all
//! scripts would be many times as large as the rest of the program.

mod draw;
mod format;
mod layout;
#[cfg(test)]
mod tests;
mod text;

use chrono::{DateTime, Utc};
use domain::billing::{Invoice, InvoiceStatus};
use domain::money::Money;

use text::Typefaces;

/// Seller or buyer. Empty parts are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Party {
    pub name: String,
    /// Street, town, country: a line each.
    pub address: Vec<String>,
    /// As it is to be shown, with what it is: "NPWP 01.234.567.8-901.000".
    pub tax_id: Option<String>,
    pub email: Option<String>,
}

/// All that is on an invoice.
#[derive(Clone, Debug, PartialEq)]
pub struct InvoiceDocument {
    /// `None` for a draft, which has no number yet.
    pub number: Option<String>,
    pub status: InvoiceStatus,
    pub seller: Party,
    pub buyer: Party,
    /// Lines, tax and totals.
    pub charges: Invoice,
    pub issued_at: Option<DateTime<Utc>>,
    pub due_at: Option<DateTime<Utc>>,
    pub paid_at: Option<DateTime<Utc>>,
    /// What was given back so far; not negative, in the currency of the charges.
    pub refunded: Money,
    /// Where it can be paid; shown while it is to be paid.
    pub payment_url: Option<String>,
    /// Paragraphs at the end.
    pub notes: Vec<String>,
}

/// Why there is no PDF. The typefaces are part of the program, so this is a fault of the program, not of the invoice.
#[derive(Debug, thiserror::Error)]
pub enum PdfError {
    #[error("a built-in typeface can't be read")]
    Typeface,
    #[error("the PDF can't be written: {0}")]
    Writing(String),
}

/// The invoice as a PDF in A4.
///
/// # Errors
/// None that depends on the invoice; see [`PdfError`].
pub fn render(invoice: &InvoiceDocument) -> Result<Vec<u8>, PdfError> {
    let typefaces = Typefaces::load().ok_or(PdfError::Typeface)?;
    let pages = layout::pages(invoice, &typefaces);
    draw::pdf(invoice, &pages, &typefaces)
}
