//! Meta's documented error codes for sending, each with what it means to the agent whose message failed.
//!
//! `Later` is given only where the code itself says that the message was not sent and that the reason passes: a
//! limit on the rate, maintenance, overload. Everything else needs a person.

use super::errors::Retry;

pub(super) struct Explanation {
    pub(super) code: i64,
    pub(super) retry: Retry,
    pub(super) text: &'static str,
    /// Whether Meta's details name the culprit (a parameter, a field), so that they are worth showing.
    pub(super) quote_details: bool,
}

const fn never(code: i64, text: &'static str) -> Explanation {
    Explanation { code, retry: Retry::Never, text, quote_details: false }
}

const fn later(code: i64, text: &'static str) -> Explanation {
    Explanation { code, retry: Retry::Later, text, quote_details: false }
}

const fn never_because(code: i64, text: &'static str) -> Explanation {
    Explanation { code, retry: Retry::Never, text, quote_details: true }
}

/// Codes 200 to 299, and 10, are permissions that were not granted or were taken away.
pub(super) fn is_permission_error(code: i64) -> bool {
    code == 10 || (200..=299).contains(&code)
}

pub(super) const EXPLANATIONS: &[Explanation] = &[
    // Sign-in and permissions.
    never(
        0,
        "WhatsApp no longer accepts this account's sign-in. An administrator must connect the account again.",
    ),
    never(
        190,
        "The account's access token has expired or was revoked. An administrator must connect it again.",
    ),
    never(
        3,
        "The app lacks the capability or permission to send WhatsApp messages. An administrator must check it.",
    ),
    never(
        131005,
        "Access denied: the account's permission was not granted or was removed. An administrator must check it.",
    ),
    // Limits on the rate: nothing was sent, and time heals.
    later(4, "The app has reached its limit of calls to Meta. Try again later."),
    later(80007, "The WhatsApp Business Account has reached its rate limit. Try again later."),
    later(130429, "This number is sending too fast for WhatsApp. Try again later."),
    later(131056, "Too many messages to this customer in a short time. Try again later."),
    later(132069, "This flow was sent too often in the last hour. Try again later."),
    never(
        131048,
        "WhatsApp limits this number because customers blocked or reported its messages. Check its quality in \
         WhatsApp Manager before sending more.",
    ),
    // Meta's own trouble.
    never(
        1,
        "WhatsApp had an unknown problem with the request, so the message may or may not have been sent.",
    ),
    later(2, "WhatsApp is temporarily unavailable. Try again later."),
    later(131000, "WhatsApp couldn't send the message because of a problem of its own. Try again later."),
    later(131016, "WhatsApp is temporarily overloaded. Try again later."),
    later(131057, "The account is in maintenance at WhatsApp, usually for some minutes. Try again later."),
    later(133004, "WhatsApp's server is temporarily unavailable. Try again later."),
    never_because(135000, "WhatsApp couldn't send the message because of something in it."),
    // The account.
    never(
        33,
        "This business number no longer exists at WhatsApp. An administrator must check the account's number.",
    ),
    never(
        368,
        "WhatsApp has temporarily blocked this account for breaking its policies. See WhatsApp Manager.",
    ),
    never(130497, "WhatsApp doesn't let this account message customers in that country."),
    never(131031, "WhatsApp has locked this account, for breaking its policies or failing verification."),
    never(
        131037,
        "The number's display name isn't approved yet, so it can't send messages. See WhatsApp Manager.",
    ),
    never(
        131042,
        "There is a problem with the account's payment method at Meta. An administrator must fix it there.",
    ),
    never(
        131045,
        "The number isn't registered correctly at WhatsApp. An administrator must register it again.",
    ),
    never(133010, "The number isn't registered at WhatsApp. An administrator must register it."),
    // The customer.
    never(
        470,
        "More than 24 hours have passed since the customer last wrote; send an approved template instead.",
    ),
    never(
        131047,
        "More than 24 hours have passed since the customer last wrote; send an approved template instead.",
    ),
    never(
        131026,
        "The message can't be delivered. The number may not be on WhatsApp, may have an old version of it, or has not \
         accepted its terms; reach the customer another way.",
    ),
    never(131021, "The recipient is the number that the message was sent from. Send it to another number."),
    never(131030, "This is a test number, which only sends to numbers on its allowed list at Meta."),
    never(
        130472,
        "WhatsApp didn't deliver this marketing message, as the customer is in an experiment of Meta's. Wait until \
         the customer writes, or reach the customer another way.",
    ),
    never(
        131049,
        "WhatsApp chose not to deliver this marketing message, because the customer has received too many lately. \
         Don't send it again today.",
    ),
    never(
        131050,
        "The customer has stopped marketing messages from your business. Don't send any more of them.",
    ),
    never(131062, "This kind of message needs the customer's phone number, which the customer hides."),
    // The message.
    never_because(100, "WhatsApp didn't understand the message: a part of it is wrong or misspelled."),
    never_because(131008, "A required part of the message is missing."),
    never_because(131009, "A value in the message isn't valid."),
    never(131051, "WhatsApp doesn't support this type of message."),
    never_because(131052, "WhatsApp couldn't download the media of this message."),
    never_because(
        131053,
        "WhatsApp couldn't use the media: check that its link is public and that its type and size are allowed.",
    ),
    // Templates and flows.
    never_because(132000, "The number of variables doesn't match the template. Fill in every variable."),
    never(
        132001,
        "The template doesn't exist in this language, or isn't approved. Sync the templates and choose again.",
    ),
    never(132005, "The text is too long with the variables filled in. Shorten them."),
    never_because(132007, "The template's content breaks WhatsApp's character policy."),
    never_because(132012, "A variable isn't in the form that the template asks for."),
    never_because(
        132018,
        "A variable's text isn't allowed: it must have no line breaks, tabs or runs of spaces.",
    ),
    never(132015, "WhatsApp has paused this template for low quality. Edit it, or use another."),
    never(132016, "WhatsApp has disabled this template for good, for low quality. Use another."),
    never(132068, "The flow in this message is blocked. An administrator must correct the flow at Meta."),
];
