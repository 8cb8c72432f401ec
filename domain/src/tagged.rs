//! An event read from its type and its payload where they are: without being put together into one JSON value first, and
//! with the type in front, so that the payload need not be kept aside until it is known what it is.

use serde::de::value::MapDeserializer;
use serde::de::{Deserializer, IntoDeserializer, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::{Error, Value};

/// Reads an enum with `#[serde(tag = "type", content = "data")]`; a variant without data may come without any.
///
/// # Errors
/// When the payload does not fit the type.
pub fn read<'de, E: Deserialize<'de>>(tag: &'de str, data: Option<&'de Value>) -> Result<E, Error> {
    let parts = [Some(("type", Part::Tag(tag))), data.map(|data| ("data", Part::Data(data)))];
    E::deserialize(MapDeserializer::new(parts.into_iter().flatten()))
}

#[derive(Clone, Copy)]
enum Part<'de> {
    Tag(&'de str),
    Data(&'de Value),
}

impl<'de> IntoDeserializer<'de, Error> for Part<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Part<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Part::Tag(tag) => visitor.visit_borrowed_str(tag),
            Part::Data(data) => data.deserialize_any(visitor),
        }
    }

    // What a JSON value treats differently from any.

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Part::Tag(_) => visitor.visit_some(self),
            Part::Data(data) => data.deserialize_option(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            Part::Tag(_) => visitor.visit_newtype_struct(self),
            Part::Data(data) => data.deserialize_newtype_struct(name, visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            Part::Tag(tag) => visitor.visit_enum(tag.into_deserializer()),
            Part::Data(data) => data.deserialize_enum(name, variants, visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    enum Inner {
        One(u8),
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(tag = "type", content = "data")]
    enum Event {
        #[serde(rename = "thing.made")]
        Made { name: String, size: Option<f64>, inner: Inner },
        #[serde(rename = "thing.moved")]
        Moved(Vec<i64>),
        #[serde(rename = "thing.gone")]
        Gone,
    }

    #[test]
    fn each_kind_of_variant_is_read_from_its_type_and_data() {
        let data = json!({ "name": "é", "size": 1.5, "inner": { "One": 7 }, "unknown": null });
        let made = Event::Made { name: "é".to_owned(), size: Some(1.5), inner: Inner::One(7) };
        assert_eq!(read::<Event>("thing.made", Some(&data)).unwrap(), made);
        assert_eq!(read::<Event>("thing.moved", Some(&json!([1, -2]))).unwrap(), Event::Moved(vec![1, -2]));
        assert_eq!(read::<Event>("thing.gone", None).unwrap(), Event::Gone);
    }

    #[test]
    fn what_does_not_fit_says_why() {
        let error = |tag, data: Option<&Value>| read::<Event>(tag, data).unwrap_err().to_string();
        let wrong = json!({ "name": 7, "inner": { "One": 7 } });
        assert_eq!(error("thing.made", Some(&wrong)), "invalid type: integer `7`, expected a string");
        assert!(error("thing.lost", None).contains("unknown variant `thing.lost`"));
        assert!(error("thing.made", None).contains("missing field `data`"));
        assert!(error("thing.gone", Some(&json!({}))).contains("invalid type: map"));
    }
}
