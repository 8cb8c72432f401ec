use proptest::prelude::*;
use rust_decimal::Decimal;
use serde_json::json;

use super::*;

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn usd(text: &str) -> Money {
    Money::rounded(decimal(text), Currency::USD)
}

fn idr(amount: i64) -> Money {
    Money::rounded(Decimal::from(amount), Currency::IDR)
}

#[test]
fn currencies_have_the_decimals_they_are_paid_in() {
    for (code, decimals) in [("IDR", 0), ("JPY", 0), ("USD", 2), ("EUR", 2), ("SGD", 2), ("KWD", 3)] {
        let currency: Currency = code.parse().unwrap();
        assert_eq!((currency.code(), currency.decimals()), (code, decimals));
    }
    assert_eq!("IDR".parse(), Ok(Currency::IDR));
    assert_eq!("USD".parse(), Ok(Currency::USD));
    for unknown in ["", "usd", "XXX", "US", "USD ", "RUPIAH"] {
        assert_eq!(unknown.parse::<Currency>(), Err(UnknownCurrency), "{unknown}");
    }
}

#[test]
fn minor_units_are_whole_and_come_back() {
    let kwd = Money::rounded(decimal("-1.234"), "KWD".parse().unwrap());
    for (money, units) in [(usd("29.5"), 2_950), (idr(299_000), 299_000), (kwd, -1_234)] {
        assert_eq!(money.minor_units(), Some(units));
        assert_eq!(Money::from_minor_units(units, money.currency()), money);
    }
    assert_eq!(Money::rounded(Decimal::MAX, Currency::IDR).minor_units(), None);
}

#[test]
fn rounding_is_half_up_and_the_same_both_ways() {
    assert_eq!(usd("0.005").amount().to_string(), "0.01");
    assert_eq!(usd("0.00499").amount().to_string(), "0.00");
    assert_eq!(usd("-0.005").amount().to_string(), "-0.01");
    assert_eq!(usd("-0.004").amount().to_string(), "0.00", "there is no minus zero");
    assert_eq!(Money::rounded(decimal("1234.5"), Currency::IDR).amount().to_string(), "1235");
    assert_eq!(usd("29").amount().to_string(), "29.00");
}

#[test]
fn currencies_never_mix() {
    let mismatch = Err(MoneyError::CurrencyMismatch { left: Currency::USD, right: Currency::IDR });
    assert_eq!(usd("1").plus(idr(1)), mismatch);
    assert_eq!(usd("1").minus(idr(1)), mismatch);
    assert_eq!(usd("1").min(idr(1)), mismatch);
    assert_eq!(Money::sum(Currency::USD, [usd("1"), idr(0)]), mismatch, "not even a zero");
}

#[test]
fn overflow_is_an_error_and_not_a_panic() {
    let huge = Money::rounded(Decimal::MAX, Currency::IDR);
    assert_eq!(huge.plus(huge), Err(MoneyError::OutOfRange));
    assert_eq!(huge.times(Decimal::TEN), Err(MoneyError::OutOfRange));
    assert_eq!(huge.share(3, 2), Err(MoneyError::OutOfRange));
}

#[test]
fn requests_are_read_strictly() {
    let read = |text: &str, currency| Money::parse(text, currency).map(|money| money.amount().to_string());
    assert_eq!(read("149000", Currency::IDR), Ok("149000".into()));
    assert_eq!(read("149000.00", Currency::IDR), Ok("149000".into()));
    assert_eq!(read("0", Currency::USD), Ok("0.00".into()));
    assert_eq!(read("-0.00", Currency::USD), Ok("0.00".into()));
    assert_eq!(read("0029.5", Currency::USD), Ok("29.50".into()));
    assert_eq!(read("1000000000000", Currency::IDR), Ok("1000000000000".into()));
    assert_eq!(read("1000000000000.01", Currency::USD), Err(AmountError::TooLarge { max: MAX_AMOUNT }));
    assert_eq!(read(&"9".repeat(80), Currency::IDR), Err(AmountError::TooLarge { max: MAX_AMOUNT }));
    assert_eq!(read("149000.5", Currency::IDR), Err(AmountError::TooManyDecimals { allowed: 0 }));
    assert_eq!(read("29.999", Currency::USD), Err(AmountError::TooManyDecimals { allowed: 2 }));
    assert_eq!(read("-1", Currency::IDR), Err(AmountError::Negative));
    for text in
        ["", "-", ".", "1.", ".5", "+1", "1e3", "1_000", "1,000", " 1", "NaN", "0x1", "--1", "1.2.3", "٣"]
    {
        assert_eq!(read(text, Currency::USD), Err(AmountError::NotADecimal), "{text:?}");
    }
    assert_eq!(Money::parse_positive("0.00", Currency::USD), Err(AmountError::NotPositive));
}

#[test]
fn rates_and_percentages_have_their_own_ranges() {
    assert_eq!(parse_rate("0.0075"), Ok(decimal("0.0075")));
    assert_eq!(parse_rate("00.00750").map(|rate| rate.to_string()), Ok("0.0075".to_owned()));
    assert_eq!(parse_rate("0.0000001"), Err(AmountError::TooManyDecimals { allowed: RATE_DECIMALS }));
    assert_eq!(parse_percent("12.5"), Ok(decimal("12.5")));
    assert_eq!(parse_percent("100"), Ok(Decimal::ONE_HUNDRED));
    assert_eq!(parse_percent("100.01"), Err(AmountError::TooLarge { max: Decimal::ONE_HUNDRED }));
    assert_eq!(parse_percent("0"), Err(AmountError::NotPositive));
}

#[test]
fn a_problem_names_its_field() {
    let problem = AmountError::TooManyDecimals { allowed: 0 }.at("base_price_monthly");
    assert_eq!(problem, FieldProblem::new("base_price_monthly", "must not have more than 0 decimals"));
}

#[test]
fn stored_as_strings_and_refused_when_not_payable() {
    assert_eq!(serde_json::to_value(usd("29")).unwrap(), json!({"amount": "29.00", "currency": "USD"}));
    let read =
        |amount, currency| serde_json::from_value::<Money>(json!({"amount": amount, "currency": currency}));
    assert_eq!(read("-5", "IDR").unwrap(), idr(-5));
    assert!(read("0.5", "IDR").is_err());
    assert!(read("1", "ABC").is_err());
}

proptest! {
    #[test]
    fn rounding_moves_by_half_a_minor_unit_at_most(units in -1_000_000_000_i64..1_000_000_000, scale in 0_u32..9) {
        let exact = Decimal::new(units, scale);
        for currency in [Currency::IDR, Currency::USD] {
            let half = Decimal::new(5, currency.decimals() + 1);
            let money = Money::rounded(exact, currency);
            prop_assert!((money.amount() - exact).abs() <= half);
            prop_assert_eq!(money.amount().scale(), currency.decimals());
            prop_assert_eq!(Money::rounded(-exact, currency), money.negated());
        }
    }

    #[test]
    fn what_is_written_reads_back(cents in 0_i64..1_000_000_000_000) {
        let money = Money::rounded(Decimal::new(cents, 2), Currency::USD);
        prop_assert_eq!(Money::parse(&money.amount().to_string(), Currency::USD), Ok(money));
        let json = serde_json::to_string(&money).unwrap();
        prop_assert_eq!(serde_json::from_str::<Money>(&json).unwrap(), money);
    }

    #[test]
    fn a_share_is_never_more_than_the_whole(cents in 0_i64..100_000_000_000, part in 0_i64..40_000_000, rest in 0_i64..40_000_000) {
        let whole = Money::rounded(Decimal::new(cents, 2), Currency::USD);
        let share = whole.share(part, part + rest).unwrap();
        prop_assert!(share.amount() <= whole.amount() && !share.is_negative());
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
        if let Ok(money) = Money::parse(&text, Currency::USD) {
            prop_assert!(!money.is_negative() && money.amount() <= MAX_AMOUNT);
        }
    }
}
