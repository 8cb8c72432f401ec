use super::{InboundMessage, Item, interpret, parse};

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/whatsapp/", $name, ".json"))
    };
}

mod damage;
mod errors;
mod inbound;
mod outbound;
mod template;

fn items(body: &str) -> Vec<Item> {
    parse(body.as_bytes()).unwrap().iter().flat_map(|change| interpret(&change.raw)).collect()
}

fn only_message(items: Vec<Item>) -> InboundMessage {
    match <[Item; 1]>::try_from(items) {
        Ok([Item::Message(message)]) => message,
        other => panic!("not one message: {other:?}"),
    }
}
