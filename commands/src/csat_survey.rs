//! Decisions about satisfaction surveys.

use chrono::{DateTime, Utc};
use domain::aggregate::Aggregate;
use domain::conversation::Conversation;
use domain::csat_survey::{CsatStatus, CsatSurvey, CsatSurveyEvent};
use domain::message_content::MessageContent;
use domain::personal::Personal;
use domain::refusal::Refusal;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::store::Decision;

/// The claim that lets a conversation have one open survey.
pub const OPEN: &str = "open_csat_survey";
pub const RATINGS: std::ops::RangeInclusive<i64> = 1..=5;
const MAX_COMMENT_CHARS: usize = 2_000;
/// How an answer by button names its survey: `csat:<survey>:<rating>`.
const REPLY_PREFIX: &str = "csat";

type Decided = Result<Decision<CsatSurveyEvent>, Refusal>;

/// # Errors
/// When there is no such conversation; an open survey is found by the claim.
pub fn request(state: &CsatSurvey, id: Uuid, conversation_id: Uuid, conversation: &Conversation) -> Decided {
    if state.exists() {
        return Ok(Decision::nothing());
    }
    if !conversation.exists() {
        return Err(Refusal::not_found("conversation"));
    }
    let requested = CsatSurveyEvent::Requested {
        conversation_id,
        contact_id: conversation.contact_id,
        agent_id: conversation.assigned_agent_id,
    };
    Ok(Decision::one(requested).claiming(OPEN, conversation_id.to_string(), id))
}

/// # Errors
/// When there is no such survey, it was answered or has expired, or the rating is none.
pub fn rate(state: &CsatSurvey, id: Uuid, rating: i64, comment: Option<&str>, now: DateTime<Utc>) -> Decided {
    if !state.exists() {
        return Err(Refusal::not_found("survey"));
    }
    if !RATINGS.contains(&rating) {
        return Err(Refusal::invalid("rating", "must be 1 to 5"));
    }
    if comment.is_some_and(|comment| comment.chars().count() > MAX_COMMENT_CHARS) {
        return Err(Refusal::invalid("comment", format!("must have at most {MAX_COMMENT_CHARS} characters")));
    }
    if state.status == CsatStatus::Rated {
        return Err(Refusal::conflict("already_rated", "This survey has been answered."));
    }
    if !state.is_open(now) {
        return Err(Refusal::conflict("survey_expired", "This survey is no longer open."));
    }
    let rated = CsatSurveyEvent::Rated {
        rating,
        comment: comment.map(|comment| Personal::new(state.contact_id, comment.to_owned())),
        agent_id: state.agent_id,
        requested_on: state.created_at.unwrap_or(now).date_naive(),
    };
    Ok(Decision::one(rated).releasing(OPEN, state.conversation_id.to_string(), id))
}

/// Closes a survey that nobody answered in time, so that the conversation can have another one.
#[must_use]
pub fn expire(state: &CsatSurvey, id: Uuid, now: DateTime<Utc>) -> Decision<CsatSurveyEvent> {
    if state.status != CsatStatus::Pending || !state.exists() || state.is_open(now) {
        return Decision::nothing();
    }
    Decision::one(CsatSurveyEvent::Expired).releasing(OPEN, state.conversation_id.to_string(), id)
}

/// The survey as a list to choose from, for channels that have one.
#[must_use]
pub fn question(id: Uuid) -> MessageContent {
    const NAMES: [&str; 5] = ["Very bad", "Bad", "Okay", "Good", "Excellent"];
    let rows: Vec<Value> = (1..=5)
        .rev()
        .zip(NAMES.iter().rev())
        .map(|(rating, name)| json!({ "id": format!("{REPLY_PREFIX}:{id}:{rating}"), "title": format!("{rating} - {name}") }))
        .collect();
    let list = json!({
        "type": "list",
        "body": { "text": "How satisfied are you with our service?" },
        "action": { "button": "Rate us", "sections": [{ "title": "Your rating", "rows": rows }] },
    });
    MessageContent::Interactive(list.as_object().cloned().unwrap_or_default())
}

/// The survey and rating that a customer's choice stands for, if it answers a [`question`].
#[must_use]
pub fn answer(content: &MessageContent) -> Option<(Uuid, i64)> {
    let mut parts = content.chosen_reply()?.0.split(':');
    let ours = parts.next()? == REPLY_PREFIX;
    let answer = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    ours.then_some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    fn noon() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn id() -> Uuid {
        Uuid::from_u128(1)
    }

    fn open() -> CsatSurvey {
        CsatSurvey { conversation_id: Uuid::from_u128(2), created_at: Some(noon()), ..CsatSurvey::default() }
    }

    #[test]
    fn a_survey_claims_its_conversation_and_an_answer_gives_it_back() {
        let conversation = Conversation { created_at: Some(noon()), ..Conversation::default() };
        let requested = request(&CsatSurvey::default(), id(), Uuid::from_u128(2), &conversation).unwrap();
        assert_eq!(requested.claims[0].key, Uuid::from_u128(2).to_string());
        let rated = rate(&open(), id(), 5, Some("Nice"), noon()).unwrap();
        assert_eq!(rated.releases[0].key, requested.claims[0].key);
    }

    #[test]
    fn a_rating_is_one_to_five_once_and_in_time() {
        assert_eq!(rate(&open(), id(), 6, None, noon()).unwrap_err().fields[0].field, "rating");
        let rated = CsatSurvey { status: CsatStatus::Rated, ..open() };
        assert_eq!(rate(&rated, id(), 5, None, noon()).unwrap_err().code, "already_rated");
        assert_eq!(
            rate(&open(), id(), 5, None, noon() + TimeDelta::days(7)).unwrap_err().code,
            "survey_expired"
        );
    }

    #[test]
    fn only_an_overdue_survey_expires() {
        assert!(expire(&open(), id(), noon() + TimeDelta::days(6)).events.is_empty());
        assert_eq!(expire(&open(), id(), noon() + TimeDelta::days(7)).events, [CsatSurveyEvent::Expired]);
    }

    #[test]
    fn a_choice_of_the_question_is_its_answer() {
        let reply = json!({ "type": "list_reply", "list_reply": { "id": format!("csat:{}:4", id()), "title": "4 - Good" } });
        let content = MessageContent::Interactive(reply.as_object().cloned().unwrap());
        assert_eq!(answer(&content), Some((id(), 4)));
        let other = json!({ "type": "list_reply", "list_reply": { "id": "menu:1", "title": "Menu" } });
        assert_eq!(answer(&MessageContent::Interactive(other.as_object().cloned().unwrap())), None);
        let MessageContent::Interactive(question) = question(id()) else { panic!("a list") };
        assert!(MessageContent::parse_outbound("interactive", &Value::Object(question)).is_ok());
    }
}
