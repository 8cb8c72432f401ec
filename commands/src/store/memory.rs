//! What the writer of a log remembers of it, so that most batches need not ask the database first.

use std::num::NonZeroUsize;

use chrono::{DateTime, Utc};
use domain::canonical::Hash;
use lru::LruCache;
use uuid::Uuid;

use super::batch::{Facts, HeldClaim, Plan, Prepared, StreamHead};

/// Streams whose head is remembered, of each log.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

/// Never trusted: the database compares what a batch was planned on with what is so.
pub(super) struct Memory {
    /// Where the log will end when all that is on its way is written.
    end: i64,
    recorded_at: Option<DateTime<Utc>>,
    heads: LruCache<Uuid, (i64, Hash)>,
}

impl Memory {
    pub fn new() -> Self {
        Self { end: 0, recorded_at: None, heads: LruCache::new(REMEMBERED) }
    }

    /// What is probably so: commands are new, streams are as this process left them, keys that are claimed are free,
    /// and keys that are given back are held.
    pub fn guess(&mut self, commands: &[Prepared]) -> Facts {
        let appends = || commands.iter().map(|command| &command.append);
        let mut ids: Vec<Uuid> = appends().flat_map(|a| a.streams.iter().map(|s| s.stream_id)).collect();
        ids.sort_unstable();
        ids.dedup();
        let heads = ids.into_iter().filter_map(|stream_id| {
            let (version, chain_hash) = *self.heads.get(&stream_id)?;
            Some(StreamHead { stream_id, version, chain_hash })
        });
        let streams = heads.collect();
        let released = appends().flat_map(|a| a.releases.iter().map(move |claim| (a.tenant_id, claim)));
        let mut claims: Vec<HeldClaim> = released
            .map(|(tenant_id, claim)| HeldClaim {
                tenant_id,
                scope: claim.scope.to_owned(),
                key: claim.key.clone(),
                owner: claim.owner,
            })
            .collect();
        claims.sort_unstable();
        claims.dedup_by(|b, a| (a.tenant_id, &a.scope, &a.key) == (b.tenant_id, &b.scope, &b.key));
        Facts { recorded_at: self.recorded_at, commands: Vec::new(), streams, claims }
    }

    /// The batch is about to be written: the next one is planned on it, and told if it was not. Answers the position
    /// after which it probably stands.
    pub fn expect(&mut self, plan: &Plan) -> i64 {
        self.recorded_at = Some(plan.recorded_at);
        for row in &plan.rows {
            self.heads.put(row.stream.stream_id, (row.version, row.chain_hash));
        }
        let follows = self.end;
        self.end += plan.rows.len() as i64;
        follows
    }

    /// A batch stands after a position, and not after the one that was expected: so will all that come after it.
    pub const fn written(&mut self, expected: i64, before: i64) {
        self.end += before - expected;
    }
}
