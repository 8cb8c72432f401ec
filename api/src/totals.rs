//! How many rows a list has. Counting stops at a cap, and a list that was longer than that a moment ago is not counted
//! again: inboxes are asked for all day long, and of a long one counting is what takes longest.

use std::any::TypeId;
use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;

use crate::Ctx;
use crate::http::Answer;

/// Totals are exact up to here, so that no list grows slow with a tenant's history (SEMANTICS, "Paging").
const EXACT_TOTAL: i64 = 10_000;
/// Where counting stops: so far beyond the cap that a list of so many rows stays above it while it is remembered.
const COUNT_LIMIT: i64 = EXACT_TOTAL + 1_000;
/// How long a list is known to be long.
const REMEMBERED: Duration = Duration::from_secs(30);
/// Lists that are remembered at once, the latest ones.
const LISTS: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

/// The lists that reached [`COUNT_LIMIT`], and when.
pub(crate) struct LongLists {
    since: Mutex<LruCache<u64, Instant>>,
    hasher: RandomState,
}

impl Default for LongLists {
    fn default() -> Self {
        Self { since: Mutex::new(LruCache::new(LISTS)), hasher: RandomState::new() }
    }
}

impl LongLists {
    fn knows(&self, list: u64, now: Instant) -> bool {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.get(&list).is_some_and(|since| now.duration_since(*since) < REMEMBERED)
    }

    fn note(&self, list: u64, now: Instant) {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).put(list, now);
    }
}

/// The total of one list, before it is known.
pub struct Total<'a> {
    ctx: &'a Ctx,
    list: u64,
    is_long: bool,
}

impl Ctx {
    /// The total of the caller's list that a filter makes; of each kind of list the filter is a type of its own.
    pub fn total_of<F: Hash + 'static>(&self, filter: &F) -> Total<'_> {
        let known = self.app.long_lists();
        let list = known.hasher.hash_one((self.tenant_id(), TypeId::of::<F>(), filter));
        Total { ctx: self, list, is_long: known.knows(list, Instant::now()) }
    }
}

impl Total<'_> {
    /// Where to stop counting; `None` if there is nothing to count.
    #[must_use]
    pub fn at_most(&self) -> Option<i64> {
        (!self.is_long).then_some(COUNT_LIMIT)
    }

    /// What to show when so many rows were counted, and says if there are more.
    #[must_use]
    pub fn shown(self, counted: Option<i64>) -> i64 {
        let counted = counted.unwrap_or(COUNT_LIMIT);
        if counted >= COUNT_LIMIT && !self.is_long {
            self.ctx.app.long_lists().note(self.list, Instant::now());
        }
        if counted > EXACT_TOTAL {
            self.ctx.set_total_capped();
        }
        counted.min(EXACT_TOTAL)
    }

    /// Counts up to a limit if need be, and answers what to show.
    ///
    /// # Errors
    /// Those of counting.
    pub async fn counted(self, count: impl AsyncFnOnce(i64) -> Result<i64, sqlx::Error>) -> Answer<i64> {
        let counted = match self.at_most() {
            Some(limit) => Some(count(limit).await?),
            None => None,
        };
        Ok(self.shown(counted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_known_to_be_long_for_a_while_after_it_was_counted() {
        let (lists, counted) = (LongLists::default(), Instant::now());
        assert!(!lists.knows(1, counted));
        lists.note(1, counted);
        let last = counted + REMEMBERED - Duration::from_millis(1);
        assert!(lists.knows(1, counted) && lists.knows(1, last));
        assert!(!lists.knows(2, last));
        assert!(!lists.knows(1, counted + REMEMBERED));
    }
}
