//! What was asked for and what was answered, kept outside of the database: the truth that the end is measured against.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

/// One change that somebody wants. Its words are nobody else's, so that it can be found again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    Role {
        name: String,
    },
    Division {
        name: String,
    },
    /// An agent writes in the conversation with this customer.
    Outbound {
        customer: String,
        text: String,
    },
    /// A customer writes; the channel's id is the `Idempotency-Key` of a webhook.
    Inbound {
        customer: String,
        external_id: String,
        text: String,
    },
}

impl Wish {
    /// The words by which it is found again.
    pub fn mark(&self) -> &str {
        match self {
            Self::Role { name } | Self::Division { name } => name,
            Self::Outbound { text, .. } => text,
            Self::Inbound { external_id, .. } => external_id,
        }
    }
}

/// A wish and what has become of it.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key: Uuid,
    pub wish: Wish,
    pub attempts: u32,
    /// The id in the first answer that said yes; the channel's id for what a customer wrote.
    pub acknowledged: Option<String>,
    /// Ids in later answers under the same key.
    pub repeated: Vec<String>,
    /// An answer that said no. None of these wishes can be refused.
    pub refused: Option<String>,
    /// Its writer gave up after the first try, as a client that crashed: it may have happened, but only once.
    pub abandoned: bool,
}

/// All entries of a run, and how the answers were.
#[derive(Default)]
pub struct Ledger {
    entries: Mutex<Vec<Entry>>,
    /// By status: how long each answer took.
    answers: Mutex<BTreeMap<String, Vec<Duration>>>,
}

impl Ledger {
    /// Notes a wish before it is asked for; answers its number.
    pub fn wish(&self, key: Uuid, wish: Wish, abandoned: bool) -> usize {
        let mut entries = self.entries.lock().expect("not poisoned");
        entries.push(Entry {
            key,
            wish,
            attempts: 0,
            acknowledged: None,
            repeated: Vec::new(),
            refused: None,
            abandoned,
        });
        entries.len() - 1
    }

    pub fn change(&self, number: usize, change: impl FnOnce(&mut Entry)) {
        change(&mut self.entries.lock().expect("not poisoned")[number]);
    }

    pub fn entry(&self, number: usize) -> Entry {
        self.entries.lock().expect("not poisoned")[number].clone()
    }

    pub fn entries(&self) -> Vec<Entry> {
        self.entries.lock().expect("not poisoned").clone()
    }

    /// The numbers of those that have no answer yet and whose writer has not given up.
    pub fn open(&self) -> Vec<usize> {
        let open =
            |entry: &Entry| entry.acknowledged.is_none() && entry.refused.is_none() && !entry.abandoned;
        self.entries().iter().enumerate().filter(|(_, entry)| open(entry)).map(|(n, _)| n).collect()
    }

    /// Counts an answer by its status, or that there was none.
    pub fn heard(&self, answer: &str, after: Duration) {
        self.answers.lock().expect("not poisoned").entry(answer.to_owned()).or_default().push(after);
    }

    pub fn summary(&self) -> Value {
        let entries = self.entries();
        let count = |is: fn(&Entry) -> bool| entries.iter().filter(|entry| is(entry)).count();
        json!({
            "wishes": entries.len(),
            "acknowledged": count(|e| e.acknowledged.is_some()),
            "asked_more_than_once": count(|e| e.attempts > 1),
            "repeated_after_the_answer": count(|e| !e.repeated.is_empty()),
            "abandoned": count(|e| e.abandoned),
            "answers": self.answers.lock().expect("not poisoned").iter().map(spread).collect::<Value>(),
        })
    }
}

/// How many, and how long half of them and the longest took.
fn spread((answer, times): (&String, &Vec<Duration>)) -> (String, Value) {
    let mut millis: Vec<u128> = times.iter().map(Duration::as_millis).collect();
    millis.sort_unstable();
    let (half, longest) = (millis[millis.len() / 2], millis[millis.len() - 1]);
    (answer.clone(), json!({ "count": millis.len(), "median_ms": half, "longest_ms": longest }))
}
