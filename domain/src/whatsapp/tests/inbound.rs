//! Webhooks as Meta sends them.

use chrono::DateTime;
use serde_json::{Value, json};

use super::{items, only_message};
use crate::message_content::{Media, MessageContent};
use crate::whatsapp::*;

const TARGET: &str = "wamid.HBgNNjI4MTIzNDU2NzgwMRUCABEYEjQ4RDBCN0U2QTM5MUY1NDA5AA==";

fn messages(body: &str) -> Vec<InboundMessage> {
    let message = |item| match item {
        Item::Message(message) => message,
        other => panic!("not a message: {other:?}"),
    };
    items(body).into_iter().map(message).collect()
}

fn contents(body: &str) -> Vec<MessageContent> {
    messages(body).into_iter().map(|message| message.content).collect()
}

#[test]
fn reads_a_text_with_everything_around_it() {
    let [change] = <[Change; 1]>::try_from(parse(fixture!("text").as_bytes()).unwrap()).unwrap();
    assert_eq!(change.waba_id.as_deref(), Some("310847529061734"));
    assert_eq!(change.phone_number_id.as_deref(), Some("284719350164928"));
    assert_eq!(change.field, "messages");
    let message = only_message(interpret(&change.raw));
    assert_eq!(message.from, "6281234567801");
    assert_eq!(message.profile_name.as_deref(), Some("Siti Rahayu"));
    assert_eq!(message.sent_at, DateTime::from_timestamp(1_763_712_001, 0).unwrap());
    assert_eq!(
        message.content,
        MessageContent::Text { text: "Halo kak, pesanan INV-2041 sudah dikirim? 🙏".into() }
    );
    assert_eq!((message.reply_to, message.forwarded, message.referral), (None, false, None));
}

#[test]
fn reads_context_and_referral() {
    let [message] = <[_; 1]>::try_from(messages(fixture!("text_reply_from_ad"))).unwrap();
    assert_eq!(message.reply_to.as_deref(), Some(TARGET));
    assert!(message.forwarded);
    assert_eq!(message.referral.unwrap()["source_type"], "ad");
}

#[test]
fn reads_an_album_of_media() {
    let media = |id: &str, mime_type: &str, sha256: &str| Media {
        mime_type: Some(mime_type.into()),
        sha256: Some(sha256.into()),
        ..Media::from_provider(id)
    };
    let found = contents(fixture!("media"));
    let [image, video, voice, audio, document, sticker] = <[_; 6]>::try_from(found).unwrap();
    let sha256 = "2n0eRzM3Vb1o8tV7m6bJ5oYcQdG3d0fT1sHq4wKx9aE=";
    let expected = Media {
        caption: Some("Warna yang ini ya".into()),
        ..media("1184920375602718", "image/jpeg", sha256)
    };
    assert_eq!(image, MessageContent::Image(expected));
    let sha256 = "Yk3l1uT0q9rS8nC5m2xV7bE4zW6pA1dF0gH9jK2sL8o=";
    assert_eq!(video, MessageContent::Video(media("1184920375602719", "video/mp4", sha256)));
    assert!(matches!(voice, MessageContent::Audio(Media { voice: true, .. })));
    assert!(matches!(audio, MessageContent::Audio(Media { voice: false, .. })));
    assert_eq!(document.preview(), "Document: bukti-transfer.pdf");
    assert!(matches!(sticker, MessageContent::Sticker(Media { animated: true, .. })));
}

#[test]
fn reads_places_and_people() {
    let [named, bare, contacts] = <[_; 3]>::try_from(contents(fixture!("location_and_contacts"))).unwrap();
    let MessageContent::Location(place) = named else { panic!("not a place") };
    assert_eq!((place.latitude, place.longitude), (-6.175_392_4, 106.827_152_8));
    assert_eq!(place.name.as_deref(), Some("Monumen Nasional"));
    assert_eq!(bare.preview(), "Location");
    assert_eq!(contacts.preview(), "Contact: Budi Santoso");
}

#[test]
fn reads_reactions_and_their_removal() {
    let emoji = |content| match content {
        MessageContent::Reaction { message_id, emoji } if message_id == TARGET => emoji,
        other => panic!("not a reaction to it: {other:?}"),
    };
    let emojis: Vec<String> = contents(fixture!("reactions")).into_iter().map(emoji).collect();
    assert_eq!(emojis, ["👍🏽", "", ""]);
}

#[test]
fn reads_replies_to_buttons_lists_forms_and_templates() {
    let found = messages(fixture!("replies"));
    assert!(found.iter().all(|message| message.reply_to.as_deref() == Some(TARGET)));
    let choices: Vec<_> = found.iter().map(|message| message.content.chosen_reply()).collect();
    assert_eq!(
        choices,
        [
            Some(("confirm-2041", "Ya, benar")),
            Some(("jne-reg", "JNE Reguler")),
            Some(("flow", "Sent")),
            None,
            Some(("STOP_PROMO", "Berhenti promo")),
        ]
    );
    let kinds: Vec<_> = found.iter().map(|message| message.content.kind()).collect();
    assert_eq!(kinds, ["interactive", "interactive", "interactive", "unsupported", "button"]);
    let wire = found[1].content.to_wire(str::to_owned);
    assert_eq!(wire["list_reply"]["description"], "2-3 hari");
}

#[test]
fn keeps_what_has_no_form_here() {
    let kind = |content| match content {
        MessageContent::Unsupported { kind, raw } if raw["id"].is_string() => kind,
        other => panic!("not kept whole: {other:?}"),
    };
    let found = contents(fixture!("unsupported"));
    assert_eq!(found[1].preview(), "Siti Rahayu changed from 6281234567801 to 6281234567999");
    let kinds: Vec<String> = found.into_iter().map(kind).collect();
    assert_eq!(kinds, ["order", "system", "poll_creation", "unknown", "image", "hologram"]);
}

#[test]
fn reads_statuses_with_errors_and_pricing() {
    let found = items(fixture!("statuses"));
    assert_eq!(found[5], Item::Ignored { field: "messages.statuses.deleted".into() });
    let statuses: Vec<_> = found
        .iter()
        .filter_map(|item| if let Item::Status(status) = item { Some(status) } else { None })
        .collect();
    let words: Vec<_> = statuses.iter().map(|status| status.status).collect();
    use DeliveryStatus::*;
    assert_eq!(words, [Sent, Delivered, Read, Read, Failed]);
    assert!(Sent < Delivered && Delivered < Read);
    let sent = statuses[0];
    assert_eq!(sent.recipient.as_deref(), Some("6281234567801"));
    assert_eq!(sent.callback_data.as_deref(), Some("0193f1c2-7d0e-7a44-9f55-0c1d2e3f4a5b"));
    assert_eq!(sent.conversation_category.as_deref(), Some("marketing"));
    assert_eq!(sent.conversation_id.as_deref(), Some("b7c41f0a93de4a0fa8b2"));
    let pricing = statuses[1].pricing.clone().unwrap();
    assert_eq!(pricing.billable, Some(true));
    assert_eq!(pricing.model.as_deref(), Some("PMP"));
    assert_eq!((pricing.category.as_deref(), pricing.kind.as_deref()), (Some("utility"), Some("regular")));
    assert!(SendFailure::from_errors(&statuses[4].errors).explanation.starts_with("More than 24 hours"));
}

#[test]
fn answers_a_customer_who_hides_the_number_by_user_id() {
    let [message] = <[_; 1]>::try_from(messages(fixture!("username_only"))).unwrap();
    assert_eq!(message.from, "ID.90817263544536271");
    assert_eq!(message.user_id.as_deref(), Some("ID.90817263544536271"));
    assert_eq!(message.profile_name.as_deref(), Some("Rina"));
}

#[test]
fn reads_echoes_from_the_business_app() {
    let found = items(fixture!("echo"));
    let [Item::Echo(echo)] = &found[..] else { panic!("not one echo: {found:?}") };
    assert_eq!(echo.to, "6281234567801");
    assert_eq!(echo.content.preview(), "Sudah dikirim, kak");
}

#[test]
fn reads_verdicts_on_templates() {
    let verdicts: Vec<_> = items(fixture!("templates"))
        .into_iter()
        .map(|item| if let Item::Template(update) = item { update } else { panic!("{item:?}") })
        .collect();
    assert!(
        verdicts.iter().all(|verdict| verdict.template_id == "1689031764522107" && verdict.language == "id")
    );
    let status = |event: &str, reason: Option<&str>| TemplateChange::Status {
        event: event.to_owned(),
        reason: reason.map(str::to_owned),
    };
    let told: Vec<_> = verdicts.into_iter().map(|verdict| verdict.change).collect();
    assert_eq!(
        told,
        [
            status("APPROVED", None),
            status("REJECTED", Some("INVALID_FORMAT: Variables are next to each other.")),
            status("PAUSED", Some("Paused for 3 hours for low quality.")),
        ]
    );
}

#[test]
fn reads_news_of_a_templates_quality_and_category() {
    let update = |field: &str, news: Value| {
        let mut value = news;
        value["message_template_id"] = json!(1_689_031_764_522_107_u64);
        value["message_template_name"] = json!("pesanan_dikirim");
        value["message_template_language"] = json!("id");
        interpret(&json!({ "field": field, "value": value }))
    };
    let quality = json!({ "previous_quality_score": "GREEN", "new_quality_score": "RED" });
    let [Item::Template(told)] = &update("message_template_quality_update", quality)[..] else { panic!() };
    assert_eq!(told.change, TemplateChange::Quality("RED".into()));
    let category = json!({ "previous_category": "UTILITY", "new_category": "MARKETING" });
    let [Item::Template(told)] = &update("template_category_update", category)[..] else { panic!() };
    assert_eq!(told.change, TemplateChange::Category("MARKETING".into()));
    let nothing = update("template_category_update", json!({}));
    assert!(matches!(&nothing[..], [Item::Malformed { reason, .. }] if reason.contains("new_category")));
}

#[test]
fn notes_account_changes_and_account_errors() {
    let [update, quality, error] = <[Item; 3]>::try_from(items(fixture!("account"))).unwrap();
    assert_eq!(update, Item::Ignored { field: "account_update".into() });
    assert_eq!(quality, Item::Ignored { field: "phone_number_quality_update".into() });
    let Item::AccountError(error) = error else { panic!("not an error") };
    assert_eq!(SendFailure::from_error(&error).retry, Retry::Later);
}
