//! Who writes what in the demo.

use serde_json::{Value, json};

use super::WABA_ID;

/// One customer's conversation.
pub struct Customer {
    pub name: &'static str,
    pub phone: &'static str,
    pub turns: &'static [Turn],
}

pub enum Turn {
    Says(&'static str),
    /// A picture with a caption.
    Shows(&'static str),
    /// Where the customer is.
    At(f64, f64),
    /// Whoever has the conversation answers.
    AgentSays(&'static str),
    Tagged(&'static [&'static str]),
    /// Handed on to the support division, with a note.
    HandedOn(&'static str),
    Resolved,
    /// We ask how satisfied the customer is.
    Asked,
    /// The customer chooses from the list, 1 to 5.
    Rates(u8),
}

use Turn::{AgentSays, Asked, At, HandedOn, Rates, Resolved, Says, Shows, Tagged};

pub const CUSTOMERS: &[Customer] = &[
    // First, because nobody answers: the promise of a quick answer breaks while the others are served.
    Customer {
        name: "Siti Aminah",
        phone: "6281200000003",
        turns: &[Says("Toko buka sampai jam berapa?"), At(-6.2, 106.816_666), Says("Saya di sekitar sini.")],
    },
    Customer {
        name: "Ani Wijaya",
        phone: "6281200000001",
        turns: &[
            Says("Halo, apakah tas kulit warna cokelat masih ada?"),
            AgentSays("Halo Kak Ani! Masih ada tiga. Mau saya simpankan satu?"),
            Says("Mau. Bisa dikirim ke Bandung?"),
            AgentSays("Bisa, ongkirnya Rp18.000 dan sampai besok."),
            Tagged(&["order", "vip"]),
            Says("Baik, saya transfer sekarang."),
        ],
    },
    Customer {
        name: "Rudi Hartono",
        phone: "6281200000002",
        turns: &[
            Says("Pesanan saya #1042 belum sampai."),
            Shows("Resi pengirimannya"),
            AgentSays("Maaf ya, Pak Rudi. Saya teruskan ke bagian pengiriman."),
            Tagged(&["shipping"]),
            HandedOn("Resi tidak bergerak sejak Senin; tolong hubungi kurir."),
            AgentSays("Paketnya sudah di kurir dan tiba sore ini."),
            Says("Oke, terima kasih."),
            Resolved,
            Asked,
            Rates(5),
            // An answer opens a conversation again, this one too.
            Resolved,
        ],
    },
    Customer {
        name: "John Smith",
        phone: "15550100004",
        turns: &[
            Says("Hi, do you ship to Singapore?"),
            AgentSays("Yes, we do. It takes three to five days."),
            Says("Great, sending my order now."),
        ],
    },
];

/// What a customer's turn is as a message of Meta's; `None` where the customer says nothing.
pub fn message(external_id: &str, turn: &Turn) -> Option<Value> {
    Some(match turn {
        Says(text) => json!({ "type": "text", "text": { "body": text } }),
        Shows(caption) => json!({
            "type": "image",
            "image": { "id": format!("media-{external_id}"), "mime_type": "image/jpeg", "caption": caption },
        }),
        At(latitude, longitude) => {
            json!({ "type": "location", "location": { "latitude": latitude, "longitude": longitude } })
        }
        AgentSays(_) | Tagged(_) | HandedOn(_) | Resolved | Asked | Rates(_) => return None,
    })
}

/// The choice of a row of a list.
pub fn choice(row: &Value) -> Value {
    json!({ "type": "interactive", "interactive": { "type": "list_reply", "list_reply": row } })
}

/// A customer's message as Meta's webhook describes it.
pub fn webhook(
    phone_number_id: &str,
    customer: &Customer,
    external_id: &str,
    sent_at: i64,
    mut message: Value,
) -> Value {
    message["from"] = json!(customer.phone);
    message["id"] = json!(external_id);
    message["timestamp"] = json!(sent_at.to_string());
    change(
        phone_number_id,
        json!({
            "contacts": [{ "profile": { "name": customer.name }, "wa_id": customer.phone }],
            "messages": [message],
        }),
    )
}

/// A delivery status as Meta's webhook describes it.
pub fn status(phone_number_id: &str, external_id: &str, recipient: &str, status: &str, at: i64) -> Value {
    let status = json!({ "id": external_id, "status": status, "timestamp": at.to_string(), "recipient_id": recipient });
    change(phone_number_id, json!({ "statuses": [status] }))
}

fn change(phone_number_id: &str, mut value: Value) -> Value {
    value["messaging_product"] = json!("whatsapp");
    value["metadata"] = json!({ "display_phone_number": "622150000000", "phone_number_id": phone_number_id });
    json!({
        "object": "whatsapp_business_account",
        "entry": [{ "id": WABA_ID, "changes": [{ "field": "messages", "value": value }] }],
    })
}
