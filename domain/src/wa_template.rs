//! A WhatsApp message template: a text that Meta has reviewed, and that may be sent when the window is closed.
//!
//! Meta holds the original. What stands here is what Meta last said of it, by answering our submission, by its list, or
//! by a webhook; and the header's media, which Meta wants anew with each message. A business account has one template
//! per name and language, so those make the stream's id: whoever learns of a template first, they all mean the same.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::aggregate::Aggregate;
use crate::event::{Context, EventBody};
use crate::whatsapp::TemplateRef;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum WaTemplateEvent {
    /// Meta has taken it from us, for review.
    #[serde(rename = "wa_template.submitted")]
    Submitted(Box<Listing>),
    /// Meta lists it, or lists it otherwise than before. The whole of it.
    #[serde(rename = "wa_template.synced")]
    Synced(Box<Listing>),
    #[serde(rename = "wa_template.status_changed")]
    StatusChanged {
        status: Status,
        /// Why, in Meta's words.
        reason: Option<String>,
    },
    #[serde(rename = "wa_template.category_changed")]
    CategoryChanged { category: Category },
    #[serde(rename = "wa_template.quality_changed")]
    QualityChanged { quality: String },
    #[serde(rename = "wa_template.header_media_set")]
    HeaderMediaSet { url: String },
    /// Here; Meta's original stays.
    #[serde(rename = "wa_template.deleted")]
    Deleted,
}

impl EventBody for WaTemplateEvent {}

/// A template as Meta describes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Listing {
    /// The WhatsApp Business Account.
    pub waba_id: String,
    pub name: String,
    /// Meta's code, such as `id` or `en_US`.
    pub language: String,
    pub category: Category,
    pub status: Status,
    /// Why the status is what it is, in Meta's words.
    pub reason: Option<String>,
    /// Meta's rating by what customers do: `GREEN`, `YELLOW`, `RED` or `UNKNOWN`.
    pub quality: Option<String>,
    /// Header, body, footer and buttons, in Meta's form.
    pub components: Vec<Value>,
    pub meta_template_id: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Category {
    Marketing,
    #[default]
    Utility,
    Authentication,
}

impl Category {
    /// Meta's word for it; `None` for one that it has given up or is new.
    #[must_use]
    pub fn from_meta(word: &str) -> Option<Self> {
        Some(match word {
            "MARKETING" => Self::Marketing,
            "UTILITY" => Self::Utility,
            "AUTHENTICATION" => Self::Authentication,
            _ => return None,
        })
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Marketing => "MARKETING",
            Self::Utility => "UTILITY",
            Self::Authentication => "AUTHENTICATION",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    #[default]
    Pending,
    /// The only one in which it can be sent.
    Approved,
    Rejected,
    /// For some hours, because customers did not like it.
    Paused,
    Disabled,
}

impl Status {
    /// What Meta's word, in a list or in a webhook, means for sending; `None` for a word that is new.
    #[must_use]
    pub fn from_meta(word: &str) -> Option<Self> {
        Some(match word {
            "PENDING" | "PENDING_REVIEW" | "IN_APPEAL" => Self::Pending,
            // A flagged template is warned of its quality, and is sent all the same.
            "APPROVED" | "FLAGGED" | "REINSTATED" | "UNARCHIVED" | "UNLOCKED" => Self::Approved,
            "REJECTED" => Self::Rejected,
            "PAUSED" => Self::Paused,
            "DISABLED" | "PENDING_DELETION" | "DELETED" | "ARCHIVED" | "LOCKED" | "LIMIT_EXCEEDED" => {
                Self::Disabled
            }
            _ => return None,
        })
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Approved => "APPROVED",
            Self::Rejected => "REJECTED",
            Self::Paused => "PAUSED",
            Self::Disabled => "DISABLED",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WaTemplate {
    pub listing: Listing,
    /// Public address of the picture, film or file that the header shows.
    pub header_media_url: Option<String>,
    /// When Meta's list was last read with something new in it: older news is no news.
    pub synced_at: Option<DateTime<Utc>>,
    pub created_at: Option<DateTime<Utc>>,
}

/// The stream of a tenant's template.
#[must_use]
pub fn stream_id(tenant_id: Uuid, waba_id: &str, name: &str, language: &str) -> Uuid {
    Uuid::new_v5(&tenant_id, format!("wa_template {waba_id} {name} {language}").as_bytes())
}

impl WaTemplate {
    /// What sending takes from it.
    #[must_use]
    pub fn reference(&self) -> TemplateRef {
        TemplateRef {
            name: self.listing.name.clone(),
            language: self.listing.language.clone(),
            components: self.listing.components.clone(),
            header_media_url: self.header_media_url.clone(),
        }
    }
}

impl Aggregate for WaTemplate {
    const STREAM: &'static str = "wa_template";
    type Event = WaTemplateEvent;

    fn evolve(&mut self, event: &WaTemplateEvent, context: Context) {
        match event.clone() {
            WaTemplateEvent::Submitted(listing) => {
                self.listing = *listing;
                self.created_at = self.created_at.or(Some(context.at));
            }
            WaTemplateEvent::Synced(listing) => {
                self.listing = *listing;
                self.synced_at = Some(context.at);
                self.created_at = self.created_at.or(Some(context.at));
            }
            WaTemplateEvent::StatusChanged { status, reason } => {
                self.listing.status = status;
                self.listing.reason = reason;
            }
            WaTemplateEvent::CategoryChanged { category } => self.listing.category = category,
            WaTemplateEvent::QualityChanged { quality } => self.listing.quality = Some(quality),
            WaTemplateEvent::HeaderMediaSet { url } => self.header_media_url = Some(url),
            WaTemplateEvent::Deleted => *self = Self::default(),
        }
    }

    fn exists(&self) -> bool {
        self.created_at.is_some()
    }
}
