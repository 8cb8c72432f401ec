//! From events to changes: an event together with the state that it found makes the entry in the books.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::PgConnection;

use crate::event::{Event, FoldError};
use crate::table::{ApplyError, Fold, Key, Row, Table, key_object, load_rows, table};

/// A fold of streams into one row each, which knows what its events change.
pub(super) trait Stated: Fold {
    type Change: Serialize + DeserializeOwned;

    /// What the event made of it, if that matters for the books.
    ///
    /// # Errors
    /// When it can't be booked.
    fn change(
        before: Option<&Self::Row>,
        after: Option<&Self::Row>,
        event: &Event,
    ) -> Result<Option<Self::Change>, FoldError>;
}

/// A table of `F`, which folds changes of `S` instead of events: each comes as the event that made it, with the change as
/// its body. It must stand before the table of `S` in its projection, which holds the states from before the batch
/// until then.
pub(super) fn booked<S: Stated, F: Fold>() -> Box<dyn Table> {
    Box::new(Booked::<S, F> { changes: PhantomData, book: table::<F>() })
}

/// The change in the body of an event that [`booked`] made.
///
/// # Errors
/// When the body is none.
pub(super) fn change_in<S: Stated>(event: &Event) -> Result<S::Change, FoldError> {
    Ok(serde_json::from_value(event.body.clone())?)
}

struct Booked<S, F> {
    changes: PhantomData<(S, F)>,
    book: Box<dyn Table>,
}

#[async_trait::async_trait]
impl<S: Stated, F: Fold> Table for Booked<S, F> {
    fn name(&self) -> &'static str {
        self.book.name()
    }

    fn key(&self) -> &'static [&'static str] {
        self.book.key()
    }

    fn columns(&self) -> &'static [&'static str] {
        self.book.columns()
    }

    fn concerns(&self, event: &Event) -> bool {
        !S::keys(event).is_empty()
    }

    async fn apply(&self, tx: &mut PgConnection, schema: &str, events: &[Event]) -> Result<(), ApplyError> {
        let concerning: Vec<(&Event, Key)> =
            events.iter().flat_map(|event| S::keys(event).into_iter().map(move |key| (event, key))).collect();
        if concerning.is_empty() {
            return Ok(());
        }
        let mut states = load::<S>(tx, schema, concerning.iter().map(|(_, key)| key)).await?;
        let mut changes = Vec::new();
        for (event, key) in concerning {
            let name = domain::canonical::to_string(&key);
            let before = states.remove(&name);
            let after = S::apply(&key, before.clone(), event)?;
            if let Some(change) = S::change(before.as_ref(), after.as_ref(), event)? {
                let body = serde_json::to_value(change).map_err(FoldError::Row)?;
                changes.push(Arc::new(event.with(body)));
            }
            states.extend(after.map(|after| (name, after)));
        }
        self.book.apply(tx, schema, &changes).await
    }
}

/// The states that there are, by their key.
async fn load<S: Stated>(
    tx: &mut PgConnection,
    schema: &str,
    keys: impl Iterator<Item = &Key>,
) -> Result<HashMap<String, S::Row>, ApplyError> {
    let columns = S::Row::KEY;
    let wanted: HashMap<String, Value> =
        keys.map(|key| (domain::canonical::to_string(key), key_object(columns, key))).collect();
    let wanted = Value::Array(wanted.into_values().collect());
    let mut states = HashMap::new();
    for row in load_rows(tx, schema, table::<S>().as_ref(), &wanted).await? {
        let key: Key = columns.iter().map(|column| row.get(*column).cloned().unwrap_or_default()).collect();
        let state = serde_json::from_value(row).map_err(FoldError::Row)?;
        states.insert(domain::canonical::to_string(&key), state);
    }
    Ok(states)
}
