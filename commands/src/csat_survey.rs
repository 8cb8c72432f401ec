//! Decisions about satisfaction surveys.

use chrono::{DateTime, Utc};
use domain::aggregate::Aggregate;
use domain::channel::Channel;
use domain::chat_expiration_rule::ChatExpirationRule;
use domain::conversation::{Author, Conversation};
use domain::csat_survey::{CsatStatus, CsatSurvey, CsatSurveyEvent};
use domain::message_content::MessageContent;
use domain::personal::Personal;
use domain::refusal::Refusal;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::message::{self, Outbound};
use crate::store::{Decided as Done, Decision, Expected, Origin, Part, Store};
use crate::{CommandError, chat_expiration_rule};

/// The claim that lets a conversation have one open survey.
pub const OPEN: &str = "open_csat_survey";
pub const RATINGS: std::ops::RangeInclusive<i64> = 1..=5;
const MAX_COMMENT_CHARS: usize = 2_000;
/// How an answer by button names its survey: `csat:<survey>:<rating>`.
const REPLY_PREFIX: &str = "csat";

type Decided = Result<Decision<CsatSurveyEvent>, Refusal>;

/// A survey that someone wants, with the ids of what it makes.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    pub survey_id: Uuid,
    /// Of the message that asks the question, where there is one.
    pub message_id: Uuid,
    pub conversation_id: Uuid,
}

/// What asking depends on besides the survey itself.
#[derive(Clone, Debug)]
pub struct Circumstances {
    pub conversation: Conversation,
    /// The chat expiration rule of its channel.
    pub rule: ChatExpirationRule,
    /// The survey that the conversation has already, answered in time or not.
    pub holder: Option<(Uuid, CsatSurvey)>,
    pub now: DateTime<Utc>,
}

impl Circumstances {
    async fn of(store: &Store, tenant_id: Uuid, conversation_id: Uuid) -> Result<Self, CommandError> {
        let conversation: Conversation = store.load(tenant_id, conversation_id).await?;
        let holder = match store.claim_owner(tenant_id, OPEN, &conversation_id.to_string()).await? {
            Some(id) => Some((id, store.load(tenant_id, id).await?)),
            None => None,
        };
        let rule = chat_expiration_rule::of_channel(store, tenant_id, conversation.channel).await?;
        Ok(Self { conversation, rule, holder, now: store.clock().now() })
    }

    /// Whether the channel has a list to choose from, and may be written to.
    #[must_use]
    pub fn can_ask(&self) -> bool {
        self.conversation.channel == Channel::Whatsapp && self.conversation.window_open(&self.rule, self.now)
    }
}

/// Makes a survey and, where the channel can, asks the customer, both or neither.
///
/// # Errors
/// As [`request_and_ask`]; when the question can't be written to the customer; or a failure.
pub async fn ask(store: &Store, origin: &Origin, ask: &Ask) -> Result<Done<CsatSurvey>, CommandError> {
    let circumstances = Circumstances::of(store, origin.tenant_id, ask.conversation_id).await?;
    if circumstances.can_ask() {
        message::check_partners(store, origin.tenant_id, &circumstances.conversation).await?;
    }
    store.execute(origin, ask.survey_id, |state| request_and_ask(state, ask, &circumstances)).await
}

/// A survey that is overdue gives its place to the new one.
///
/// # Errors
/// When there is no such conversation, or it has a survey that can still be answered.
pub fn request_and_ask(state: &CsatSurvey, ask: &Ask, circumstances: &Circumstances) -> Decided {
    let Circumstances { conversation, rule, holder, now } = circumstances;
    let mut decision = request(state, ask.survey_id, ask.conversation_id, conversation)?;
    if decision.is_nothing() {
        return Ok(decision);
    }
    if let Some((old, survey)) = holder {
        if survey.is_open(*now) {
            let detail = "The conversation has a survey that the customer can still answer.";
            return Err(Refusal::conflict("survey_open", detail));
        }
        // Nothing else can happen to a survey that is overdue.
        let expired = Part::of::<CsatSurvey>(*old, Expected::Any, &[CsatSurveyEvent::Expired]);
        decision = decision.releasing(OPEN, ask.conversation_id.to_string(), *old).also(expired);
    }
    if circumstances.can_ask() {
        let question = Outbound {
            message_id: ask.message_id,
            content: question(ask.survey_id),
            author: Author::Survey,
            refers_to: None,
        };
        let asked = message::queue(conversation, rule, *now, &question)?.events;
        decision = decision.also(Part::of::<Conversation>(ask.conversation_id, Expected::Any, &asked));
    }
    Ok(decision)
}

/// # Errors
/// When there is no such conversation; an open survey is found by the claim.
fn request(state: &CsatSurvey, id: Uuid, conversation_id: Uuid, conversation: &Conversation) -> Decided {
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
    use domain::csat_survey::LIFETIME;

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

    fn asked() -> Ask {
        Ask { survey_id: id(), message_id: Uuid::from_u128(3), conversation_id: Uuid::from_u128(2) }
    }

    /// A customer has just written on WhatsApp.
    fn lively() -> Circumstances {
        let conversation = Conversation {
            channel: Channel::Whatsapp,
            created_at: Some(noon()),
            last_customer_message_at: Some(noon()),
            ..Conversation::default()
        };
        Circumstances { conversation, rule: ChatExpirationRule::default(), holder: None, now: noon() }
    }

    fn others(decision: &Decision<CsatSurveyEvent>) -> Vec<&str> {
        decision.also.iter().map(|part| part.0.events[0].event_type.as_str()).collect()
    }

    #[test]
    fn the_question_goes_with_the_survey_where_it_can_be_asked() {
        let decision = request_and_ask(&CsatSurvey::default(), &asked(), &lively()).unwrap();
        assert_eq!(others(&decision), ["message.queued"]);
        let late = Circumstances { now: noon() + TimeDelta::hours(24), ..lively() };
        assert_eq!(request_and_ask(&CsatSurvey::default(), &asked(), &late).unwrap().also.len(), 0);
        assert!(request_and_ask(&open(), &asked(), &lively()).unwrap().is_nothing(), "a repetition");
    }

    #[test]
    fn an_open_survey_stands_in_the_way_and_an_overdue_one_makes_room() {
        let old = Uuid::from_u128(4);
        let with = |now| Circumstances { holder: Some((old, open())), now, ..lively() };
        let refused = request_and_ask(&CsatSurvey::default(), &asked(), &with(noon())).unwrap_err();
        assert_eq!(refused.code, "survey_open");
        let late = with(noon() + LIFETIME);
        let decision = request_and_ask(&CsatSurvey::default(), &asked(), &late).unwrap();
        assert_eq!(others(&decision), ["csat_survey.expired"]);
        assert_eq!((decision.releases[0].owner, decision.claims[0].owner), (old, id()));
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
