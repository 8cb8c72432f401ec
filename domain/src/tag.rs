//! Tags: short texts that people and rules put on contacts and conversations.

/// Tags on one thing, and in one action of a rule.
pub const MAX_TAGS: usize = 50;
/// Characters of one tag, wherever it is written.
pub const MAX_TAG_CHARS: usize = 64;
