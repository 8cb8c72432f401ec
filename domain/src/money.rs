//! Money: an amount that can be paid, in one currency.
//!
//! A [`Money`] is always a whole number of the currency's minor unit: rupiah without decimals, dollars with two. What
//! is finer (a rate per message, a share of a month) is a plain [`Decimal`] and becomes money by rounding, once, on
//! the line where it is charged. Two currencies never meet: adding them is an error, not a conversion.

mod currency;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::fmt;

use rust_decimal::{Decimal, RoundingStrategy};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::refusal::FieldProblem;
pub use currency::{Currency, UnknownCurrency};

/// The largest amount a request may name, in major units. Far above any price, and far enough below the range of
/// [`Decimal`] (28 digits) that every product taken in billing stays exact.
pub const MAX_AMOUNT: Decimal = Decimal::from_parts(0xD4A5_1000, 0xE8, 0, false, 0);

/// Decimals of a rate: a price per message may be a fraction of the minor unit, as the line is rounded, not the rate.
pub const RATE_DECIMALS: u32 = 6;

/// Decimals of a percentage.
pub const PERCENT_DECIMALS: u32 = 2;

/// An amount in whole minor units of its currency; negative for credits and discounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "StoredMoney", into = "StoredMoney")]
pub struct Money {
    amount: Decimal,
    currency: Currency,
}

/// How money lies in events and documents: `{"amount": "29.00", "currency": "USD"}`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredMoney {
    #[serde(with = "rust_decimal::serde::str")]
    amount: Decimal,
    currency: Currency,
}

/// A calculation that has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    #[error("{left} and {right} cannot be put together")]
    CurrencyMismatch { left: Currency, right: Currency },
    #[error("the amount is too large to calculate with")]
    OutOfRange,
}

/// What is wrong with an amount in a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    #[error("must be a decimal number in a string, such as \"149000\" or \"29.50\"")]
    NotADecimal,
    #[error("must not be negative")]
    Negative,
    #[error("must be more than 0")]
    NotPositive,
    #[error("must not be more than {max}")]
    TooLarge { max: Decimal },
    #[error("must not have more than {allowed} decimals")]
    TooManyDecimals { allowed: u32 },
}

impl AmountError {
    /// The problem as the API reports it for `field`.
    #[must_use]
    pub fn at(&self, field: &str) -> FieldProblem {
        FieldProblem::new(field, self.to_string())
    }
}

impl Money {
    #[must_use]
    pub fn zero(currency: Currency) -> Self {
        Self::rounded(Decimal::ZERO, currency)
    }

    /// Rounds half up to the minor unit. Half up is meant as in accounting, away from zero, so that taking a charge
    /// back gives exactly the charge: -0.5 becomes -1 as 0.5 becomes 1.
    #[must_use]
    pub fn rounded(exact: Decimal, currency: Currency) -> Self {
        let mut amount =
            exact.round_dp_with_strategy(currency.decimals(), RoundingStrategy::MidpointAwayFromZero);
        // One way of writing each amount ("29.00", never "29" or "-0"): payloads are hashed as text.
        amount.rescale(currency.decimals());
        if amount.is_zero() {
            amount.set_sign_positive(true);
        }
        Self { amount, currency }
    }

    /// Reads an amount from a request: 0 to [`MAX_AMOUNT`], with no more decimals than the currency has.
    ///
    /// # Errors
    /// What is wrong with it. Zeros after the last decimal are no error: "100.00" rupiah is 100.
    pub fn parse(text: &str, currency: Currency) -> Result<Self, AmountError> {
        parse_decimal(text, currency.decimals()).map(|amount| Self::rounded(amount, currency))
    }

    /// As [`Money::parse`], for what must be more than zero: a refund, a fixed discount.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse_positive(text: &str, currency: Currency) -> Result<Self, AmountError> {
        let money = Self::parse(text, currency)?;
        if money.is_zero() { Err(AmountError::NotPositive) } else { Ok(money) }
    }

    /// In major units, always with as many decimals as the currency has.
    #[must_use]
    pub const fn amount(self) -> Decimal {
        self.amount
    }

    /// In minor units, such as cents; nothing beyond 64 bits, which no sum of real money is.
    #[must_use]
    pub fn minor_units(self) -> Option<i64> {
        // The scale is always the currency's.
        i64::try_from(self.amount.mantissa()).ok()
    }

    #[must_use]
    pub fn from_minor_units(units: i64, currency: Currency) -> Self {
        Self::rounded(Decimal::new(units, currency.decimals()), currency)
    }

    #[must_use]
    pub const fn currency(self) -> Currency {
        self.currency
    }

    #[must_use]
    pub fn is_zero(self) -> bool {
        self.amount.is_zero()
    }

    /// More than zero.
    #[must_use]
    pub fn is_positive(self) -> bool {
        self.amount > Decimal::ZERO
    }

    /// Less than zero.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.amount < Decimal::ZERO
    }

    /// # Errors
    /// [`MoneyError::CurrencyMismatch`], [`MoneyError::OutOfRange`].
    pub fn plus(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        let sum = self.amount.checked_add(other.amount).ok_or(MoneyError::OutOfRange)?;
        Ok(Self::rounded(sum, self.currency))
    }

    /// # Errors
    /// [`MoneyError::CurrencyMismatch`], [`MoneyError::OutOfRange`].
    pub fn minus(self, other: Self) -> Result<Self, MoneyError> {
        self.plus(other.negated())
    }

    #[must_use]
    pub fn negated(self) -> Self {
        Self::rounded(-self.amount, self.currency)
    }

    /// The product, rounded once.
    ///
    /// # Errors
    /// [`MoneyError::OutOfRange`].
    pub fn times(self, factor: Decimal) -> Result<Self, MoneyError> {
        let exact = self.amount.checked_mul(factor).ok_or(MoneyError::OutOfRange)?;
        Ok(Self::rounded(exact, self.currency))
    }

    /// `part / whole` of the amount, rounded once. A `whole` of 0 or less has no parts: the answer is zero.
    ///
    /// # Errors
    /// [`MoneyError::OutOfRange`].
    pub fn share(self, part: i64, whole: i64) -> Result<Self, MoneyError> {
        if whole <= 0 {
            return Ok(Self::zero(self.currency));
        }
        // Multiplied first: dividing first would cut off a third of a month and charge it short.
        let product = self.amount.checked_mul(Decimal::from(part)).ok_or(MoneyError::OutOfRange)?;
        let exact = product.checked_div(Decimal::from(whole)).ok_or(MoneyError::OutOfRange)?;
        Ok(Self::rounded(exact, self.currency))
    }

    /// The smaller of the two.
    ///
    /// # Errors
    /// [`MoneyError::CurrencyMismatch`].
    pub fn min(self, other: Self) -> Result<Self, MoneyError> {
        Ok(if self.compare(other)? == Ordering::Greater { other } else { self })
    }

    /// There is no `Ord`, as amounts of two currencies have no order.
    ///
    /// # Errors
    /// [`MoneyError::CurrencyMismatch`].
    pub fn compare(self, other: Self) -> Result<Ordering, MoneyError> {
        self.same_currency(other)?;
        Ok(self.amount.cmp(&other.amount))
    }

    /// The sum, zero of `currency` if there are none.
    ///
    /// # Errors
    /// [`MoneyError::CurrencyMismatch`], [`MoneyError::OutOfRange`].
    pub fn sum(currency: Currency, amounts: impl IntoIterator<Item = Self>) -> Result<Self, MoneyError> {
        amounts.into_iter().try_fold(Self::zero(currency), Self::plus)
    }

    fn same_currency(self, other: Self) -> Result<(), MoneyError> {
        if self.currency == other.currency {
            Ok(())
        } else {
            Err(MoneyError::CurrencyMismatch { left: self.currency, right: other.currency })
        }
    }
}

/// For logs and error texts; invoices have their own layout.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.currency, self.amount)
    }
}

/// With an example, since not every decimal is an amount of every currency.
impl JsonSchema for Money {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Money".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "properties": {
                "amount": Decimal::json_schema(generator),
                "currency": Currency::json_schema(generator),
            },
            "required": ["amount", "currency"],
            "additionalProperties": false,
            "examples": [{ "amount": "299000", "currency": "IDR" }],
        })
    }
}

impl From<Money> for StoredMoney {
    fn from(money: Money) -> Self {
        Self { amount: money.amount, currency: money.currency }
    }
}

impl TryFrom<StoredMoney> for Money {
    type Error = AmountError;

    fn try_from(stored: StoredMoney) -> Result<Self, AmountError> {
        let money = Self::rounded(stored.amount, stored.currency);
        if money.amount == stored.amount {
            Ok(money)
        } else {
            Err(AmountError::TooManyDecimals { allowed: stored.currency.decimals() })
        }
    }
}

/// Reads a rate, such as the price of one message over the plan: 0 to [`MAX_AMOUNT`], [`RATE_DECIMALS`] decimals.
///
/// # Errors
/// What is wrong with it.
pub fn parse_rate(text: &str) -> Result<Decimal, AmountError> {
    parse_decimal(text, RATE_DECIMALS)
}

/// Reads a percentage: more than 0, at most 100, [`PERCENT_DECIMALS`] decimals.
///
/// # Errors
/// What is wrong with it.
pub fn parse_percent(text: &str) -> Result<Decimal, AmountError> {
    let percent = parse_decimal(text, PERCENT_DECIMALS)?;
    if percent.is_zero() {
        Err(AmountError::NotPositive)
    } else if percent > Decimal::ONE_HUNDRED {
        Err(AmountError::TooLarge { max: Decimal::ONE_HUNDRED })
    } else {
        Ok(percent)
    }
}

/// The contract's decimal (`-?\d+(\.\d+)?`, stricter than what [`Decimal`] itself reads), from 0 to [`MAX_AMOUNT`].
fn parse_decimal(text: &str, max_decimals: u32) -> Result<Decimal, AmountError> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = match unsigned.split_once('.') {
        Some((whole, fraction)) if is_digits(fraction) => (whole, fraction),
        Some(_) => return Err(AmountError::NotADecimal),
        None => (unsigned, ""),
    };
    if !is_digits(whole) {
        return Err(AmountError::NotADecimal);
    }
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    if text.len() > unsigned.len() && !(whole.is_empty() && fraction.is_empty()) {
        return Err(AmountError::Negative);
    }
    if fraction.len() > max_decimals as usize {
        return Err(AmountError::TooManyDecimals { allowed: max_decimals });
    }
    // More digits than a Decimal holds are, after the checks above, digits before the point.
    let value = Decimal::from_str_exact(&format!("0{whole}.{fraction}0"));
    let value = value.ok().filter(|value| *value <= MAX_AMOUNT);
    // One way of writing each rate: payloads are hashed as text.
    value.map(|value| value.normalize()).ok_or(AmountError::TooLarge { max: MAX_AMOUNT })
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
