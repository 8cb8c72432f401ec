//! Limits on message content. Unless said otherwise they are Meta's, from the Cloud API's reference of each message
//! type, counted in Unicode scalar values: exceeding one there fails the message after it was accepted here.

/// Length of a text message.
pub const TEXT_MAX_CHARS: usize = 4096;
/// Length of the caption under an image, video or document.
pub const CAPTION_MAX_CHARS: usize = 1024;
/// Length of a document's file name.
pub const FILENAME_MAX_CHARS: usize = 240;
/// Length of a link. Ours: what browsers and proxies agree on.
pub const URL_MAX_CHARS: usize = 2048;
/// Length of a place's name or address. Ours.
pub const PLACE_MAX_CHARS: usize = 1024;
/// Decimals of a coordinate. Ours: the seventh is 11 millimetres.
pub const COORDINATE_DECIMALS: i32 = 7;
/// Length of a reaction. Ours: the longest emoji sequences have about a dozen parts.
pub const EMOJI_MAX_CHARS: usize = 20;
/// Length of a message id, of a provider's or of ours. Ours: it is a key in the database.
pub const MESSAGE_ID_MAX_CHARS: usize = 512;

/// Number of variables in one template message. Ours.
pub const TEMPLATE_VARIABLES_MAX: usize = 100;
/// Length of a template variable's value; Meta limits the whole body to this.
pub const TEMPLATE_VARIABLE_MAX_CHARS: usize = 1024;
/// Length of a template variable's name. Ours.
pub const TEMPLATE_VARIABLE_NAME_MAX_CHARS: usize = 128;
/// More consecutive spaces than this are refused in a template variable, as are line breaks and tabs.
pub const TEMPLATE_VARIABLE_MAX_SPACES: usize = 4;

/// Length of an interactive message's body.
pub const INTERACTIVE_BODY_MAX_CHARS: usize = 1024;
/// Length of a list message's body.
pub const LIST_BODY_MAX_CHARS: usize = 4096;
/// Length of a header text.
pub const HEADER_TEXT_MAX_CHARS: usize = 60;
/// Length of a footer text.
pub const FOOTER_TEXT_MAX_CHARS: usize = 60;
/// Number of reply buttons.
pub const REPLY_BUTTONS_MAX: usize = 3;
/// Length of a reply button's id.
pub const REPLY_BUTTON_ID_MAX_CHARS: usize = 256;
/// Length of the label on any button.
pub const BUTTON_LABEL_MAX_CHARS: usize = 20;
/// Number of sections of a list.
pub const LIST_SECTIONS_MAX: usize = 10;
/// Number of rows of a list, over all its sections.
pub const LIST_ROWS_MAX: usize = 10;
/// Length of a list section's title.
pub const LIST_SECTION_TITLE_MAX_CHARS: usize = 24;
/// Length of a list row's id.
pub const LIST_ROW_ID_MAX_CHARS: usize = 200;
/// Length of a list row's title.
pub const LIST_ROW_TITLE_MAX_CHARS: usize = 24;
/// Length of a list row's description.
pub const LIST_ROW_DESCRIPTION_MAX_CHARS: usize = 72;

/// Length of the line that the inbox shows for a message. Ours.
pub const PREVIEW_MAX_CHARS: usize = 120;
