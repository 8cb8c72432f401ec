//! Signed-in sessions, kept in the state of whoever signed in: ending one takes effect with the next event read.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// More sessions than this at once end the oldest.
pub const MAX_SESSIONS: usize = 50;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub id: Uuid,
    pub expires_at: DateTime<Utc>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sessions(Vec<Session>);

impl Sessions {
    pub fn start(&mut self, session: Session, at: DateTime<Utc>) {
        self.0.retain(|s| s.expires_at > at);
        self.0.push(session);
        let excess = self.0.len().saturating_sub(MAX_SESSIONS);
        self.0.drain(..excess);
    }

    pub fn end(&mut self, id: Uuid) {
        self.0.retain(|s| s.id != id);
    }

    pub fn end_all(&mut self) {
        self.0.clear();
    }

    #[must_use]
    pub fn holds(&self, id: Uuid, at: DateTime<Utc>) -> bool {
        self.0.iter().any(|s| s.id == id && s.expires_at > at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    fn session(n: u128, expires_at: DateTime<Utc>) -> Session {
        Session { id: Uuid::from_u128(n), expires_at }
    }

    #[test]
    fn a_session_holds_until_it_expires_or_ends() {
        let now = DateTime::UNIX_EPOCH;
        let mut sessions = Sessions::default();
        sessions.start(session(1, now + TimeDelta::seconds(10)), now);
        assert!(sessions.holds(Uuid::from_u128(1), now + TimeDelta::seconds(9)));
        assert!(!sessions.holds(Uuid::from_u128(1), now + TimeDelta::seconds(10)));
        sessions.end(Uuid::from_u128(1));
        assert!(!sessions.holds(Uuid::from_u128(1), now));
    }

    #[test]
    fn the_oldest_ends_when_there_are_too_many() {
        let now = DateTime::UNIX_EPOCH;
        let mut sessions = Sessions::default();
        for n in 0..=MAX_SESSIONS as u128 {
            sessions.start(session(n, now + TimeDelta::days(1)), now);
        }
        assert!(!sessions.holds(Uuid::from_u128(0), now));
        assert!(sessions.holds(Uuid::from_u128(1), now));
    }
}
