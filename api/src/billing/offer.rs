//! Reading what the platform sells from requests: amounts in a currency, slugs, limits. Everything that is wrong with a
//! request is said at once.

use domain::aggregate::Aggregate;
use domain::billing::Limits;
use domain::event::PLATFORM_TENANT;
use domain::money::{AmountError, Currency, Money, UnknownCurrency, parse_rate};
use domain::refusal::{FieldProblem, Refusal};
use projections::documents::{self, Document};
use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::wire::AmountText;
use crate::Ctx;
use crate::http::Answer;

/// What was found wrong with a request so far.
#[derive(Default)]
pub(super) struct Reading(Vec<FieldProblem>);

impl Reading {
    /// A currency by its code; the default one where none is named.
    pub(super) fn currency(&mut self, code: Option<&str>) -> Currency {
        let Some(code) = code else { return Currency::default() };
        code.parse().unwrap_or_else(|error: UnknownCurrency| {
            self.0.push(FieldProblem::new("currency", error.to_string()));
            Currency::default()
        })
    }

    pub(super) fn money(&mut self, field: &str, text: &AmountText, currency: Currency) -> Money {
        self.or_problem(field, Money::parse(&text.0, currency)).unwrap_or_else(|| Money::zero(currency))
    }

    /// The amount if there is one, else what it has been so far, which may not exist in another currency.
    pub(super) fn money_or(
        &mut self,
        field: &str,
        text: Option<&AmountText>,
        before: Money,
        currency: Currency,
    ) -> Money {
        match text {
            Some(text) => self.money(field, text, currency),
            None if before.currency() == currency => before,
            None => self.money(field, &AmountText(before.amount().to_string()), currency),
        }
    }

    pub(super) fn rate(&mut self, field: &str, text: &AmountText) -> Decimal {
        self.or_problem(field, parse_rate(&text.0)).unwrap_or_default()
    }

    pub(super) fn limits(&mut self, field: &str, object: &Map<String, Value>) -> Limits {
        Limits::parse(field, object).unwrap_or_else(|problems| {
            self.0.extend(problems);
            Limits::default()
        })
    }

    /// Named as one likes, but not with a `$` in front: such names have a meaning to serde_json, and what is written
    /// under one of them can't be read back.
    pub(super) fn features(&mut self, field: &str, object: &Map<String, Value>) -> Map<String, Value> {
        for name in object.keys().filter(|name| name.starts_with('$')) {
            self.problem(format!("{field}.{name}"), "must not begin with $");
        }
        object.clone()
    }

    /// Text that says something, without the spaces around it.
    pub(super) fn text(&mut self, field: &str, text: &str) -> String {
        if text.trim().is_empty() {
            self.0.push(FieldProblem::new(field, "must not be blank"));
        }
        text.trim().to_owned()
    }

    pub(super) fn slug(&mut self, slug: &str) -> String {
        if let Err(refusal) = commands::organization_admin::check_slug(slug) {
            self.0.extend(refusal.fields);
        }
        slug.to_owned()
    }

    /// The value, or nothing if it is wrong.
    pub(super) fn or_problem<T>(&mut self, field: &str, read: Result<T, AmountError>) -> Option<T> {
        read.map_err(|error| self.0.push(error.at(field))).ok()
    }

    pub(super) fn problem(&mut self, field: impl Into<String>, message: &str) {
        self.0.push(FieldProblem::new(field, message));
    }

    /// # Errors
    /// 422 naming every field that is wrong.
    pub(super) fn finish(self) -> Result<(), Refusal> {
        if self.0.is_empty() { Ok(()) } else { Err(Refusal::invalid_fields(self.0)) }
    }
}

/// Tells `null`, which clears a field, from a field that is not there.
pub(super) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    field: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(field).map(Some)
}

/// All of one kind that the platform sells, whoever asks; oldest first.
pub(super) async fn offered<A: Aggregate>(ctx: &Ctx) -> Answer<Vec<Document<A>>> {
    let mut db = ctx.app.store().pool().acquire().await?;
    Ok(documents::list(&mut db, PLATFORM_TENANT).await?)
}

/// One thing that the platform sells, or nothing.
pub(super) async fn find_offered<A: Aggregate>(ctx: &Ctx, id: Uuid) -> Answer<Option<Document<A>>> {
    let mut db = ctx.app.store().pool().acquire().await?;
    Ok(documents::get(&mut db, PLATFORM_TENANT, id).await?)
}

/// JSON of limits as the API shows them.
pub(super) fn limits_object(limits: &Limits) -> Map<String, Value> {
    match serde_json::to_value(limits) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_that_could_not_be_read_back_is_refused() {
        let text = r#"{"$serde_json::private::RawValue":true}"#;
        let given: Map<String, Value> = serde_json::from_str(text).unwrap();
        assert!(serde_json::from_str::<Value>(&Value::Object(given.clone()).to_string()).is_err());
        let mut reading = Reading::default();
        reading.features("features", &given);
        let fields = reading.finish().unwrap_err().fields;
        assert_eq!(fields[0].field, "features.$serde_json::private::RawValue");
    }
}
