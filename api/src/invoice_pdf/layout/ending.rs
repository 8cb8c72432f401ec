//! What follows the lines: totals, where to pay, notes, and the foot of each page.

use domain::billing::InvoiceStatus;
use domain::money::{Currency, Money};

use super::{
    ACCENT, AMOUNT, BODY, Composer, LABEL, LINE_HEIGHT, Look, MARGIN, MOST_NOTE_LINES, Mark, PAGE_HEIGHT,
    RIGHT, RULE, SMALL, STRONG, TEXT_SIZE, TOTALS, WIDTH,
};
use crate::invoice_pdf::format;
use crate::invoice_pdf::text::Weight;

impl Composer<'_> {
    /// Never separated from each other by the end of a page.
    pub(super) fn totals(&mut self) {
        let invoice = self.invoice;
        let charges = &invoice.charges;
        let tax = if charges.currency() == Currency::IDR { "PPN" } else { "Tax" };
        let mut rows = vec![
            ("Subtotal".to_owned(), format::money(charges.subtotal), false),
            (format!("{tax} {}", format::percent(charges.tax_rate)), format::money(charges.tax), false),
            ("Total".to_owned(), format::money(charges.total), true),
        ];
        let paid = matches!(invoice.status, InvoiceStatus::Paid | InvoiceStatus::Refunded);
        if paid {
            let date = invoice.paid_at.map_or(String::new(), |at| format!(" on {}", format::date(at)));
            rows.push((format!("Paid{date}"), format::money(charges.total.negated()), false));
        }
        let due = match invoice.status {
            InvoiceStatus::Open | InvoiceStatus::Uncollectible => Some(charges.total),
            InvoiceStatus::Paid | InvoiceStatus::Refunded | InvoiceStatus::Void => {
                Some(Money::zero(charges.currency()))
            }
            InvoiceStatus::Draft => None,
        };
        if let Some(due) = due {
            rows.push(("Amount due".to_owned(), format::money(due), true));
        }
        // After what is due: giving money back does not make it owed again.
        if invoice.refunded.is_positive() {
            rows.push(("Refunded".to_owned(), format::money(invoice.refunded), false));
        }
        if self.need(rows.len() as f32 * 20.0 + 8.0) {
            self.running_head();
        }
        self.y += 4.0;
        for (index, (label, amount, strong)) in rows.into_iter().enumerate() {
            if strong && index > 0 {
                self.rule(self.y, TOTALS, 0.5, RULE);
            }
            let look = if strong { STRONG } else { BODY };
            self.text(TOTALS, self.y + 14.0, look, label);
            self.text_up_to(AMOUNT, self.y + 14.0, look, amount);
            self.y += 20.0;
        }
        self.y += 20.0;
    }

    pub(super) fn payment_link(&mut self) {
        let payable = matches!(self.invoice.status, InvoiceStatus::Open | InvoiceStatus::Uncollectible);
        let Some(url) = self.invoice.payment_url.clone().filter(|_| payable) else { return };
        let look = Look(TEXT_SIZE, Weight::SemiBold, ACCENT);
        let lines = self.lines(&url, look, WIDTH);
        if self.need(LINE_HEIGHT * (lines.len() + 1) as f32) {
            self.running_head();
        }
        self.text(MARGIN, self.y, LABEL, "PAY ONLINE");
        for line in lines {
            self.y += LINE_HEIGHT + 1.0;
            let width = self.typefaces.of(look.1).width(&line, look.0);
            let (x, y) = (MARGIN, self.y - TEXT_SIZE);
            self.mark(Mark::Link { x, y, width, height: LINE_HEIGHT, url: url.clone() });
            self.text(MARGIN, self.y, look, line);
        }
        self.y += 26.0;
    }

    pub(super) fn notes(&mut self) {
        let face = self.typefaces.of(BODY.1);
        let paragraphs: Vec<Vec<String>> =
            self.invoice.notes.iter().map(|note| face.lines(note, BODY.0, WIDTH, MOST_NOTE_LINES)).collect();
        let mut labelled = false;
        for paragraph in paragraphs.iter().filter(|lines| !lines.is_empty()) {
            for line in paragraph {
                let label = if labelled { 0.0 } else { LINE_HEIGHT };
                if self.need(label + LINE_HEIGHT) {
                    self.running_head();
                }
                if !labelled {
                    self.text(MARGIN, self.y, LABEL, "NOTES");
                    self.y += LINE_HEIGHT + 1.0;
                    labelled = true;
                }
                self.text(MARGIN, self.y, BODY, line.clone());
                self.y += LINE_HEIGHT;
            }
            self.y += 5.0;
        }
    }

    /// At the end, when it is known how many pages there are.
    pub(super) fn footers(&mut self) {
        let (count, y) = (self.pages.len(), PAGE_HEIGHT - 40.0);
        let about = format!("{} \u{b7} {}", self.invoice.seller.name, self.title());
        let face = self.typefaces.of(SMALL.1);
        let about = face.lines(&about, SMALL.0, WIDTH * 0.7, 1).into_iter().next().unwrap_or_default();
        for (index, page) in self.pages.iter_mut().enumerate() {
            let number = format!("All dates are in UTC \u{b7} Page {} of {count}", index + 1);
            let x = RIGHT - face.width(&number, SMALL.0);
            let text = |x: f32, text: String| {
                let Look(size, weight, colour) = SMALL;
                Mark::Text { x, y, size, weight, colour, text }
            };
            page.push(Mark::Box { x: MARGIN, y: y - 16.0, width: WIDTH, height: 0.5, colour: RULE });
            page.push(text(MARGIN, about.clone()));
            page.push(text(x, number));
        }
    }
}
