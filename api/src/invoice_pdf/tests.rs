use chrono::{DateTime, Utc};
use domain::billing::{Invoice, InvoiceLine, InvoiceStatus, LineKind, Period};
use domain::money::{Currency, Money};
use lopdf::Document;
use proptest::prelude::*;

use super::layout::{Mark, PAGE_HEIGHT, PAGE_WIDTH, pages};
use super::text::Typefaces;
use super::{InvoiceDocument, Party, render};

fn at(day: &str) -> DateTime<Utc> {
    format!("2026-{day}T03:04:05Z").parse().unwrap()
}

fn money(amount: &str, currency: Currency) -> Money {
    Money::rounded(amount.parse().unwrap(), currency)
}

fn seller() -> Party {
    Party {
        name: "OmniStream Indonesia".to_owned(),
        address: vec!["Jl. Jend. Sudirman Kav. 52–53".to_owned(), "Jakarta 12190, Indonesia".to_owned()],
        tax_id: Some("NPWP 01.234.567.8-901.000".to_owned()),
        email: Some("billing@omnistream.example".to_owned()),
    }
}

/// A renewal in rupiah, with everything that an invoice can have.
fn rupiah() -> InvoiceDocument {
    let period = Some(Period { start: at("11-05"), end: at("12-05") });
    let priced = |kind, what: &str, count, price: &str, period| {
        InvoiceLine::priced(kind, what, count, price.parse().unwrap(), Currency::IDR, period).unwrap()
    };
    let lines = vec![
        priced(LineKind::Plan, "Growth, monthly", 1, "1499000", period),
        priced(LineKind::Seats, "Additional agents", 4, "99000", period),
        priced(LineKind::Addon, "Extra WhatsApp number", 2, "150000", period),
        priced(LineKind::Overage, "Messages above the plan in 2026-10", 12_345, "75.5", None),
        InvoiceLine::flat(LineKind::Discount, "Coupon MERDEKA17", money("-374750", Currency::IDR), period),
        InvoiceLine::flat(LineKind::Credit, "Credit carried over", money("-50000", Currency::IDR), None),
    ];
    InvoiceDocument {
        number: Some("INV-000123".to_owned()),
        status: InvoiceStatus::Open,
        seller: seller(),
        buyer: Party {
            name: "PT Sumber Rejeki Makmur Sentosa".to_owned(),
            address: vec!["Jl. Malioboro No. 60".to_owned(), "Yogyakarta 55213, Indonesia".to_owned()],
            tax_id: Some("NPWP 98.765.432.1-543.000".to_owned()),
            email: Some("keuangan@sumberrejeki.example".to_owned()),
        },
        charges: Invoice::of(Currency::IDR, lines).unwrap(),
        issued_at: Some(at("11-05")),
        due_at: Some(at("11-12")),
        paid_at: None,
        refunded: Money::zero(Currency::IDR),
        payment_url: Some("https://checkout.example/web/66f0a1c2e4".to_owned()),
        notes: vec!["Terima kasih. Please mention the invoice number with your transfer.".to_owned()],
    }
}

/// A paid one in dollars.
fn dollars() -> InvoiceDocument {
    let period = Some(Period { start: at("11-01"), end: at("12-01") });
    let price = "1249.5".parse().unwrap();
    let plan = InvoiceLine::priced(LineKind::Plan, "Scale, monthly", 1, price, Currency::USD, period);
    let price = "0.0035".parse().unwrap();
    let overage = InvoiceLine::priced(
        LineKind::Overage,
        "Messages above the plan in 2026-10",
        1_234_567,
        price,
        Currency::USD,
        None,
    );
    InvoiceDocument {
        number: Some("INV-000124".to_owned()),
        status: InvoiceStatus::Paid,
        buyer: Party {
            name: "Łódź Ñandú & Søns GmbH".to_owned(),
            address: vec!["Königstraße 1½".to_owned(), "Đường Lê Lợi, Việt Nam".to_owned()],
            ..Party::default()
        },
        charges: Invoice::of(Currency::USD, vec![plan.unwrap(), overage.unwrap()]).unwrap(),
        paid_at: Some(at("11-06")),
        refunded: money("100", Currency::USD),
        payment_url: None,
        notes: Vec::new(),
        ..rupiah()
    }
}

/// The text of each page. To look at the pages themselves, set `INVOICE_SAMPLES` to a folder that is to get the PDFs.
fn read(name: &str, invoice: &InvoiceDocument) -> Vec<String> {
    let bytes = render(invoice).unwrap();
    if let Some(folder) = std::env::var_os("INVOICE_SAMPLES") {
        std::fs::write(std::path::Path::new(&folder).join(format!("{name}.pdf")), &bytes).unwrap();
    }
    let document = Document::load_mem(&bytes).unwrap();
    let numbers: Vec<u32> = document.get_pages().into_keys().collect();
    let text = |number: &u32| document.extract_text(&[*number]).unwrap().replace('\u{a0}', " ");
    numbers.iter().map(text).collect()
}

#[track_caller]
fn assert_shows(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[test]
fn an_invoice_in_rupiah_shows_everything() {
    let pages = read("idr", &rupiah());
    assert_eq!(pages.len(), 1);
    assert_shows(
        &pages[0],
        &[
            "INV-000123",
            "OPEN",
            "5 November 2026",
            "12 November 2026",
            "OmniStream Indonesia",
            "NPWP 01.234.567.8-901.000",
            "PT Sumber Rejeki Makmur Sentosa",
            "Yogyakarta 55213, Indonesia",
            "keuangan@sumberrejeki.example",
            "Additional agents",
            "5 Nov 2026 – 5 Dec 2026",
            "12.345",
            "Rp 75,5",
            "Rp 932.048",
            "−Rp 374.750",
            "Rp 2.702.298",
            "PPN 11%",
            "Rp 297.253",
            "Rp 2.999.551 due on 12 November 2026",
            "https://checkout.example/web/66f0a1c2e4",
            "Please mention the invoice number",
            "Page 1 of 1",
        ],
    );
}

#[test]
fn a_paid_invoice_in_dollars_shows_the_payment_and_the_refund() {
    let pages = read("usd", &dollars());
    assert_shows(
        &pages[0],
        &[
            "INV-000124",
            "PAID",
            "$5,570.48 paid on 6 November 2026",
            "Łódź Ñandú & Søns GmbH",
            "Đường Lê Lợi, Việt Nam",
            "1,234,567",
            "$0.0035",
            "$1,249.50",
            "Tax 0%",
            "−$5,570.48",
            "Refunded",
            "$100.00",
            "Amount due",
            "$0.00",
        ],
    );
}

#[test]
fn the_same_invoice_gives_the_same_bytes() {
    assert_eq!(render(&rupiah()).unwrap(), render(&rupiah()).unwrap());
    assert_ne!(render(&rupiah()).unwrap(), render(&dollars()).unwrap());
}

#[test]
fn many_lines_go_on_over_pages_that_are_numbered() {
    let mut invoice = rupiah();
    let line = |n: usize| {
        let price = "1000".parse().unwrap();
        let what = format!("Add-on number {n:03}.");
        InvoiceLine::priced(LineKind::Addon, what, 1, price, Currency::IDR, None).unwrap()
    };
    invoice.charges = Invoice::of(Currency::IDR, (0..100).map(line).collect()).unwrap();
    let pages = read("long", &invoice);
    assert!((3..=6).contains(&pages.len()), "{}", pages.len());
    let all = pages.concat();
    for n in 0..100 {
        assert_eq!(all.matches(&format!("Add-on number {n:03}.")).count(), 1, "{n}");
    }
    for (index, page) in pages.iter().enumerate() {
        assert_shows(page, &[&format!("Page {} of {}", index + 1, pages.len()), "INV-000123"]);
        assert_eq!(page.contains("Add-on number"), page.contains("DESCRIPTION"), "{page}");
    }
    assert_shows(pages.last().unwrap(), &["Rp 111.000", "Amount due"]);
}

#[test]
fn every_status_has_its_word() {
    for (status, word) in [
        (InvoiceStatus::Draft, "DRAFT"),
        (InvoiceStatus::Open, "OPEN"),
        (InvoiceStatus::Paid, "PAID"),
        (InvoiceStatus::Void, "VOID"),
        (InvoiceStatus::Uncollectible, "UNCOLLECTIBLE"),
        (InvoiceStatus::Refunded, "REFUNDED"),
    ] {
        let number = (status != InvoiceStatus::Draft).then(|| "INV-000009".to_owned());
        let invoice = InvoiceDocument { status, number, ..rupiah() };
        let text = &read(word, &invoice)[0];
        assert_shows(text, &[word]);
        let payable = matches!(status, InvoiceStatus::Open | InvoiceStatus::Uncollectible);
        assert_eq!(text.contains("https://checkout.example"), payable, "{word}");
    }
}

#[test]
fn letters_that_the_typeface_lacks_harm_nothing_else() {
    let mut invoice = rupiah();
    invoice.buyer.name = "北京 東京 서울 ไทย עברית العربية 🙂 Cafe\u{301}".to_owned();
    let pages = read("scripts", &invoice);
    assert_shows(&pages[0], &["Yogyakarta 55213, Indonesia", "Rp 2.999.551"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Whatever the names are, everything stands on its page.
    #[test]
    fn nothing_leaves_the_page(
        name in "\\PC{0,100}",
        address in prop::collection::vec("[a-zA-Z ]{0,80}|\\PC{0,40}", 0..9),
        descriptions in prop::collection::vec("[a-z]{0,12}( [a-z]{0,12}){0,30}|\\PC{0,40}", 0..16),
        notes in prop::collection::vec("[a-z]{1,9}( [a-z]{1,9}){0,80}", 0..2),
    ) {
        let largest = "999999999999".parse().unwrap();
        let line = |what| {
            let amount = Money::rounded(largest, Currency::IDR);
            InvoiceLine { quantity: 1_234_567, ..InvoiceLine::flat(LineKind::Addon, what, amount, None) }
        };
        let mut invoice = rupiah();
        invoice.charges = Invoice::of(Currency::IDR, descriptions.into_iter().map(line).collect()).unwrap();
        invoice.seller.name.clone_from(&name);
        invoice.buyer = Party { name, address, ..Party::default() };
        invoice.notes = notes;
        let typefaces = Typefaces::load().unwrap();
        for page in pages(&invoice, &typefaces) {
            for mark in page {
                let (x, y, width, height) = match &mark {
                    Mark::Text { x, y, size, weight, text, .. } => {
                        (*x, *y - size, typefaces.of(*weight).width(text, *size), *size * 1.3)
                    }
                    Mark::Box { x, y, width, height, .. } | Mark::Link { x, y, width, height, .. } => {
                        (*x, *y, *width, *height)
                    }
                };
                let slack = 0.1;
                prop_assert!(x >= -slack && x + width <= PAGE_WIDTH + slack, "{:?}", mark);
                prop_assert!(y >= -slack && y + height <= PAGE_HEIGHT + slack, "{:?}", mark);
            }
        }
        prop_assert!(render(&invoice).is_ok());
    }
}
