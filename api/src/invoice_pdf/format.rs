//! Amounts, quantities and dates as they are written on invoices.

use chrono::{DateTime, Utc};
use domain::billing::Period;
use domain::money::{Currency, Money};
use rust_decimal::Decimal;

/// Between a currency and its amount, so that a line never ends between them.
const NO_BREAK_SPACE: char = '\u{a0}';
const MINUS: char = '\u{2212}';
const EN_DASH: char = '\u{2013}';

/// How a currency is written: what stands before the amount, and the marks of thousands and decimals.
struct Style {
    prefix: String,
    thousands: char,
    decimal: char,
}

fn style(currency: Currency) -> Style {
    match currency.code() {
        "IDR" => Style { prefix: format!("Rp{NO_BREAK_SPACE}"), thousands: '.', decimal: ',' },
        "USD" => Style { prefix: "$".to_owned(), thousands: ',', decimal: '.' },
        // A code can't be mistaken for another currency's sign.
        code => Style { prefix: format!("{code}{NO_BREAK_SPACE}"), thousands: ',', decimal: '.' },
    }
}

/// "Rp 1.250.000", "−$12.50".
pub(super) fn money(money: Money) -> String {
    amount(money.amount(), money.currency())
}

/// The price of one, which may be finer than what can be paid: "Rp 0,75".
pub(super) fn unit_price(price: Decimal, currency: Currency) -> String {
    let mut price = price.normalize();
    if price.scale() < currency.decimals() {
        price.rescale(currency.decimals());
    }
    amount(price, currency)
}

fn amount(amount: Decimal, currency: Currency) -> String {
    let style = style(currency);
    let digits = amount.abs().to_string();
    let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
    let mut text = if amount.is_sign_negative() { MINUS.to_string() } else { String::new() };
    text.push_str(&style.prefix);
    text.push_str(&grouped(whole, style.thousands));
    if !fraction.is_empty() {
        text.push(style.decimal);
        text.push_str(fraction);
    }
    text
}

/// How many, with thousands marked as in the amounts beside it.
pub(super) fn quantity(quantity: u64, currency: Currency) -> String {
    grouped(&quantity.to_string(), style(currency).thousands)
}

fn grouped(digits: &str, mark: char) -> String {
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(mark);
        }
        text.push(digit);
    }
    text
}

/// A rate of tax: 0.11 is "11%".
pub(super) fn percent(fraction: Decimal) -> String {
    format!("{}%", (fraction * Decimal::ONE_HUNDRED).normalize())
}

/// "5 November 2026", in UTC as all of billing.
pub(super) fn date(at: DateTime<Utc>) -> String {
    at.format("%-d %B %Y").to_string()
}

/// "5 Nov 2026 – 5 Dec 2026". The last day is the one on which the next period begins.
pub(super) fn period(period: Period) -> String {
    let short = |at: DateTime<Utc>| at.format("%-d %b %Y").to_string();
    format!("{} {EN_DASH} {}", short(period.start), short(period.end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idr(text: &str) -> String {
        money(Money::rounded(text.parse().unwrap(), Currency::IDR))
    }

    fn usd(text: &str) -> String {
        money(Money::rounded(text.parse().unwrap(), Currency::USD))
    }

    #[test]
    fn rupiah_are_whole_and_grouped_with_dots() {
        assert_eq!(idr("0"), "Rp\u{a0}0");
        assert_eq!(idr("999"), "Rp\u{a0}999");
        assert_eq!(idr("1000"), "Rp\u{a0}1.000");
        assert_eq!(idr("1234567"), "Rp\u{a0}1.234.567");
        assert_eq!(idr("-150000"), "\u{2212}Rp\u{a0}150.000");
    }

    #[test]
    fn dollars_have_cents_and_commas() {
        assert_eq!(usd("0"), "$0.00");
        assert_eq!(usd("29"), "$29.00");
        assert_eq!(usd("1234567.5"), "$1,234,567.50");
        assert_eq!(usd("-0.05"), "\u{2212}$0.05");
    }

    #[test]
    fn other_currencies_are_named_by_their_code_and_keep_their_decimals() {
        let of = |text: &str, code: &str| money(Money::rounded(text.parse().unwrap(), code.parse().unwrap()));
        assert_eq!(of("1234.5", "EUR"), "EUR\u{a0}1,234.50");
        assert_eq!(of("1234", "JPY"), "JPY\u{a0}1,234");
        assert_eq!(of("1.2345", "KWD"), "KWD\u{a0}1.235");
    }

    #[test]
    fn a_unit_price_keeps_what_is_finer_than_the_currency() {
        let of = |text: &str, currency| unit_price(text.parse().unwrap(), currency);
        assert_eq!(of("0.750000", Currency::IDR), "Rp\u{a0}0,75");
        assert_eq!(of("149000.00", Currency::IDR), "Rp\u{a0}149.000");
        assert_eq!(of("0.0035", Currency::USD), "$0.0035");
        assert_eq!(of("5", Currency::USD), "$5.00");
    }

    #[test]
    fn quantities_rates_and_dates() {
        assert_eq!(quantity(1_234_567, Currency::IDR), "1.234.567");
        assert_eq!(quantity(12_000, Currency::USD), "12,000");
        assert_eq!(percent("0.11".parse().unwrap()), "11%");
        assert_eq!(percent("0".parse().unwrap()), "0%");
        assert_eq!(percent("0.0825".parse().unwrap()), "8.25%");
        let (start, end) = ("2026-11-05T00:00:00Z".parse().unwrap(), "2026-12-05T00:00:00Z".parse().unwrap());
        assert_eq!(date(start), "5 November 2026");
        assert_eq!(period(Period { start, end }), "5 Nov 2026 \u{2013} 5 Dec 2026");
    }
}
