//! The currencies that can be charged in, and how many decimals each has.
//!
//! ISO 4217's active currencies (funds, metals and test codes left out), with one deliberate difference: ISO gives the
//! rupiah two decimals, but no sen has been in use for decades, and banks, gateways and tax invoices work in whole
//! rupiah. Because of that difference a currency crate would still need a correction on top, so the table is here.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Whole units only.
const NO_DECIMALS: &str = "BIF CLP DJF GNF IDR ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF";

const TWO_DECIMALS: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD \
    CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF \
    ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR \
    MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP \
    STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG";

const THREE_DECIMALS: &str = "BHD IQD JOD KWD LYD OMR TND";

/// A known currency: its ISO 4217 code, upper-case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency {
    code: &'static str,
    decimals: u32,
}

/// A code that is none of the known ones.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an ISO 4217 currency code in capitals, such as IDR or USD")]
pub struct UnknownCurrency;

impl Currency {
    /// What plans, coupons, add-ons and revenue are in unless said otherwise.
    pub const IDR: Self = Self { code: "IDR", decimals: 0 };
    pub const USD: Self = Self { code: "USD", decimals: 2 };

    #[must_use]
    pub const fn code(self) -> &'static str {
        self.code
    }

    /// Decimals of the smallest amount that can be paid: 0, 2 or 3.
    #[must_use]
    pub const fn decimals(self) -> u32 {
        self.decimals
    }
}

impl Default for Currency {
    fn default() -> Self {
        Self::IDR
    }
}

impl FromStr for Currency {
    type Err = UnknownCurrency;

    fn from_str(text: &str) -> Result<Self, UnknownCurrency> {
        [(NO_DECIMALS, 0), (TWO_DECIMALS, 2), (THREE_DECIMALS, 3)]
            .into_iter()
            .flat_map(|(codes, decimals)| {
                codes.split_ascii_whitespace().map(move |code| Self { code, decimals })
            })
            .find(|currency| currency.code == text)
            .ok_or(UnknownCurrency)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code)
    }
}

/// Any text, by the schema: one more currency does not make another schema of every event.
impl JsonSchema for Currency {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Currency".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": [Self::IDR.code] })
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code)
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
