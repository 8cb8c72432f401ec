//! Where everything stands on the pages. Lengths are points, 1/72 inch; y grows downwards, and text stands on it.

mod ending;

use domain::billing::{InvoiceLine, InvoiceStatus};

use super::format;
use super::text::{Typefaces, Weight};
use super::{InvoiceDocument, Party};

pub(super) const PAGE_WIDTH: f32 = 595.28;
pub(super) const PAGE_HEIGHT: f32 = 841.89;
const MARGIN: f32 = 48.0;
const RIGHT: f32 = PAGE_WIDTH - MARGIN;
const WIDTH: f32 = RIGHT - MARGIN;
/// Nothing but the footer stands below.
const BOTTOM: f32 = PAGE_HEIGHT - 76.0;

/// A band of colour along the top of each page.
const BAND: f32 = 6.0;
const TITLE_SIZE: f32 = 24.0;
const HEADLINE_SIZE: f32 = 17.0;
const TEXT_SIZE: f32 = 9.0;
const SMALL_SIZE: f32 = 7.5;
const LINE_HEIGHT: f32 = 13.0;
const SMALL_LINE_HEIGHT: f32 = 11.0;

/// Where the names and values of the details at the top begin.
const DETAIL_VALUES: f32 = MARGIN + 92.0;
const BUYER: f32 = MARGIN + WIDTH / 2.0;
const PARTY_WIDTH: f32 = WIDTH / 2.0 - 24.0;

/// The table's columns: descriptions from the left, figures up to these.
const DESCRIPTION_WIDTH: f32 = 220.0;
const QUANTITY: f32 = MARGIN + 284.0;
const UNIT_PRICE: f32 = MARGIN + 388.0;
const AMOUNT: f32 = RIGHT;
/// Where the labels of the totals begin.
const TOTALS: f32 = MARGIN + 260.0;

/// Lines that a single text may take, so that no name is longer than a page.
const MOST_LINES: usize = 6;
/// Paragraphs may be longer.
const MOST_NOTE_LINES: usize = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Colour(pub u8, pub u8, pub u8);

const INK: Colour = Colour(0x1a, 0x1f, 0x36);
const MUTED: Colour = Colour(0x5f, 0x6b, 0x7e);
const RULE: Colour = Colour(0xdf, 0xe3, 0xea);
const ACCENT: Colour = Colour(0x0f, 0x6c, 0x66);
const WHITE: Colour = Colour(0xff, 0xff, 0xff);
const GREEN: Colour = Colour(0x1b, 0x7f, 0x46);
const AMBER: Colour = Colour(0xb4, 0x5f, 0x06);
const RED: Colour = Colour(0xb4, 0x2a, 0x2a);

/// Something on a page.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Mark {
    Text {
        x: f32,
        y: f32,
        size: f32,
        weight: Weight,
        colour: Colour,
        text: String,
    },
    Box {
        x: f32,
        y: f32,
        width: f32,
        height: f32,
        colour: Colour,
    },
    /// An area that leads to an address.
    Link {
        x: f32,
        y: f32,
        width: f32,
        height: f32,
        url: String,
    },
}

pub(super) type Page = Vec<Mark>;

/// How a text looks.
#[derive(Clone, Copy)]
struct Look(f32, Weight, Colour);

const BODY: Look = Look(TEXT_SIZE, Weight::Regular, INK);
const STRONG: Look = Look(TEXT_SIZE, Weight::SemiBold, INK);
const QUIET: Look = Look(TEXT_SIZE, Weight::Regular, MUTED);
const SMALL: Look = Look(SMALL_SIZE, Weight::Regular, MUTED);
const LABEL: Look = Look(SMALL_SIZE, Weight::SemiBold, MUTED);

/// The pages of an invoice, one at least.
pub(super) fn pages(invoice: &InvoiceDocument, typefaces: &Typefaces) -> Vec<Page> {
    let mut composer = Composer { invoice, typefaces, pages: Vec::new(), y: 0.0 };
    composer.begin_page();
    composer.heading();
    composer.details();
    composer.parties();
    composer.headline();
    composer.table();
    composer.totals();
    composer.payment_link();
    composer.notes();
    composer.footers();
    composer.pages
}

/// Fills pages from top to bottom; `y` is where the next thing begins.
struct Composer<'a> {
    invoice: &'a InvoiceDocument,
    typefaces: &'a Typefaces,
    pages: Vec<Page>,
    y: f32,
}

impl Composer<'_> {
    fn begin_page(&mut self) {
        let band = Mark::Box { x: 0.0, y: 0.0, width: PAGE_WIDTH, height: BAND, colour: ACCENT };
        self.pages.push(vec![band]);
        self.y = MARGIN + BAND;
    }

    /// Goes on to the next page unless `height` fits on this one.
    fn need(&mut self, height: f32) -> bool {
        let full = self.y + height > BOTTOM;
        if full {
            self.begin_page();
        }
        full
    }

    fn mark(&mut self, mark: Mark) {
        if let Some(page) = self.pages.last_mut() {
            page.push(mark);
        }
    }

    fn text(&mut self, x: f32, y: f32, look: Look, text: impl Into<String>) {
        let Look(size, weight, colour) = look;
        self.mark(Mark::Text { x, y, size, weight, colour, text: text.into() });
    }

    fn text_up_to(&mut self, right: f32, y: f32, look: Look, text: impl Into<String>) {
        let text = text.into();
        let x = right - self.typefaces.of(look.1).width(&text, look.0);
        self.text(x, y, look, text);
    }

    fn lines(&self, text: &str, look: Look, width: f32) -> Vec<String> {
        self.typefaces.of(look.1).lines(text, look.0, width, MOST_LINES)
    }

    fn rule(&mut self, y: f32, x: f32, thickness: f32, colour: Colour) {
        self.mark(Mark::Box { x, y, width: RIGHT - x, height: thickness, colour });
    }

    /// What it is, and whose.
    fn heading(&mut self) {
        let title = Look(TITLE_SIZE, Weight::SemiBold, INK);
        let base = self.y + TITLE_SIZE * 0.78;
        self.text(MARGIN, base, title, "Invoice");
        let (word, colour) = status(self.invoice.status);
        let title_width = self.typefaces.of(Weight::SemiBold).width("Invoice", TITLE_SIZE);
        self.badge(MARGIN + title_width + 12.0, base, word, colour);
        let seller = Look(13.0, Weight::SemiBold, ACCENT);
        let name = self.lines(&self.invoice.seller.name, seller, WIDTH / 2.0).into_iter().next();
        self.text_up_to(RIGHT, base, seller, name.unwrap_or_default());
        self.y = base + 26.0;
    }

    /// A word in white on a colour, beside a text that stands on `base`.
    fn badge(&mut self, x: f32, base: f32, word: &str, colour: Colour) {
        let look = Look(SMALL_SIZE, Weight::SemiBold, WHITE);
        let width = self.typefaces.of(look.1).width(word, look.0) + 12.0;
        self.mark(Mark::Box { x, y: base - 12.5, width, height: 14.0, colour });
        self.text(x + 6.0, base - 2.9, look, word);
    }

    /// Number and dates.
    fn details(&mut self) {
        let invoice = self.invoice;
        let number = invoice.number.clone().unwrap_or_else(|| "given when it is issued".to_owned());
        let dates = [
            ("Date of issue", invoice.issued_at),
            ("Date due", invoice.due_at),
            ("Date paid", invoice.paid_at),
        ];
        let dates = dates.into_iter().filter_map(|(name, at)| Some((name, format::date(at?))));
        let currency = invoice.charges.currency().code().to_owned();
        for (name, value) in
            [("Invoice number", number)].into_iter().chain(dates).chain([("Currency", currency)])
        {
            let look = if name == "Invoice number" { STRONG } else { BODY };
            self.text(MARGIN, self.y, QUIET, name);
            self.text(DETAIL_VALUES, self.y, look, value);
            self.y += LINE_HEIGHT;
        }
        self.y += 18.0;
    }

    /// Seller and buyer side by side.
    fn parties(&mut self) {
        let top = self.y;
        let seller_end = self.party(MARGIN, top, "FROM", &self.invoice.seller);
        let buyer_end = self.party(BUYER, top, "BILL TO", &self.invoice.buyer);
        self.y = seller_end.max(buyer_end) + 18.0;
    }

    /// Answers where it ends.
    fn party(&mut self, x: f32, top: f32, label: &str, party: &Party) -> f32 {
        self.text(x, top, LABEL, label);
        let mut y = top + LINE_HEIGHT + 2.0;
        for line in self.lines(&party.name, STRONG, PARTY_WIDTH) {
            self.text(x, y, STRONG, line);
            y += LINE_HEIGHT;
        }
        let rest = party.address.iter().take(MOST_LINES).chain(&party.email).chain(&party.tax_id);
        for part in rest {
            for line in self.lines(part, BODY, PARTY_WIDTH) {
                self.text(x, y, BODY, line);
                y += LINE_HEIGHT;
            }
        }
        y
    }

    /// The one sentence that is looked for first.
    fn headline(&mut self) {
        let invoice = self.invoice;
        let total = format::money(invoice.charges.total);
        let on = |word: &str, at: Option<_>| {
            at.map_or(String::new(), |at| format!(" {word} {}", format::date(at)))
        };
        let sentence = match invoice.status {
            InvoiceStatus::Draft => format!("{total} to be invoiced"),
            InvoiceStatus::Open => format!("{total} due{}", on("on", invoice.due_at)),
            InvoiceStatus::Uncollectible => format!("{total} overdue{}", on("since", invoice.due_at)),
            InvoiceStatus::Paid => format!("{total} paid{}", on("on", invoice.paid_at)),
            InvoiceStatus::Refunded => format!("{total} paid and refunded"),
            InvoiceStatus::Void => "Withdrawn: nothing is owed".to_owned(),
        };
        self.y += 6.0;
        self.text(MARGIN, self.y, Look(HEADLINE_SIZE, Weight::SemiBold, INK), sentence);
        self.y += 30.0;
    }

    fn table(&mut self) {
        self.table_head();
        for line in &self.invoice.charges.lines {
            self.table_row(line);
        }
    }

    fn table_head(&mut self) {
        self.text(MARGIN, self.y, LABEL, "DESCRIPTION");
        self.text_up_to(QUANTITY, self.y, LABEL, "QTY");
        self.text_up_to(UNIT_PRICE, self.y, LABEL, "UNIT PRICE");
        self.text_up_to(AMOUNT, self.y, LABEL, "AMOUNT");
        self.y += 6.0;
        self.rule(self.y, MARGIN, 1.0, INK);
        self.y += 1.0;
    }

    /// Never cut in two by the end of a page.
    fn table_row(&mut self, line: &InvoiceLine) {
        let currency = line.amount.currency();
        let description = self.lines(&line.description, BODY, DESCRIPTION_WIDTH);
        let text_height = LINE_HEIGHT * (description.len().max(1) - 1) as f32
            + if line.period.is_some() { SMALL_LINE_HEIGHT } else { 0.0 };
        let height = 16.0 + text_height + 8.0;
        if self.need(height) {
            self.running_head();
            self.table_head();
        }
        let base = self.y + 16.0;
        for (index, text) in description.into_iter().enumerate() {
            self.text(MARGIN, base + LINE_HEIGHT * index as f32, BODY, text);
        }
        if let Some(period) = line.period {
            self.text(MARGIN, base + text_height, SMALL, format::period(period));
        }
        self.text_up_to(QUANTITY, base, BODY, format::quantity(line.quantity, currency));
        self.text_up_to(UNIT_PRICE, base, BODY, format::unit_price(line.unit_price, currency));
        self.text_up_to(AMOUNT, base, BODY, format::money(line.amount));
        self.y += height;
        self.rule(self.y, MARGIN, 0.5, RULE);
    }

    /// What a page other than the first is part of.
    fn running_head(&mut self) {
        let title = self.title();
        self.text(MARGIN, self.y, STRONG, title);
        self.text_up_to(RIGHT, self.y, QUIET, "continued");
        self.y += 26.0;
    }

    fn title(&self) -> String {
        self.invoice.number.as_ref().map_or("Draft invoice".to_owned(), |number| format!("Invoice {number}"))
    }
}

const fn status(status: InvoiceStatus) -> (&'static str, Colour) {
    match status {
        InvoiceStatus::Draft => ("DRAFT", MUTED),
        InvoiceStatus::Open => ("OPEN", AMBER),
        InvoiceStatus::Paid => ("PAID", GREEN),
        InvoiceStatus::Void => ("VOID", MUTED),
        InvoiceStatus::Uncollectible => ("UNCOLLECTIBLE", RED),
        InvoiceStatus::Refunded => ("REFUNDED", MUTED),
    }
}
