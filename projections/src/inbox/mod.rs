//! The inbox: contacts, conversations and messages.

pub mod contacts;
pub mod conversations;
pub mod messages;
pub mod query;

use crate::projection::Projection;
use crate::table::table;

#[must_use]
pub fn projection() -> Projection {
    Projection::read_model(
        "inbox",
        vec![
            table::<contacts::Contacts>(),
            table::<conversations::Conversations>(),
            table::<messages::Messages>(),
        ],
    )
}
