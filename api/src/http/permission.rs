//! What an agent may do: the permission codes that roles combine and API keys are scoped to.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! permissions {
    ($($variant:ident $code:literal $name:literal $description:literal)*) => {
        /// One right, named `category.action` on the wire.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Permission {
            $(#[serde(rename = $code)] $variant,)*
        }

        impl Permission {
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            #[must_use]
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => $description,)* }
            }
        }
    };
}

permissions! {
    ConversationsManage "conversations.manage" "Manage conversations" "Work on conversations, messages and notes"
    ContactsManage "contacts.manage" "Manage contacts" "Edit contacts and read their personal data"
    AgentsManage "agents.manage" "Manage agents" "Create, change and remove agents"
    QuickRepliesManage "quick_replies.manage" "Manage quick replies" "Create, change, import and remove quick replies"
    DivisionsManage "divisions.manage" "Manage divisions" "Create divisions and choose their agents"
    SlaManage "sla.manage" "Manage SLA policies" "Create and change service level policies"
    AutomationManage "automation.manage" "Manage automation" "Write automation rules and control their runs"
    AnalyticsView "analytics.view" "View analytics" "See reports and statistics"
    ActivityLogsView "activity_logs.view" "View activity logs" "See who did what"
    AuditView "audit.view" "View the audit trail" "Read the event history and verify it"
    CampaignsManage "campaigns.manage" "Manage campaigns" "Write, schedule and send campaigns"
    TemplatesManage "templates.manage" "Manage templates" "Create and synchronise message templates"
    IntegrationsManage "integrations.manage" "Manage integrations" "Connect channels and their accounts"
    SettingsManage "settings.manage" "Manage settings" "Change working hours, chat expiration and AI agents"
    RolesManage "roles.manage" "Manage roles" "Create roles and choose their permissions"
    BillingManage "billing.manage" "Manage billing" "See and change plan, payment and invoices"
    DeveloperAccess "developer.access" "Developer access" "Manage API keys and outgoing webhooks"
}

impl Permission {
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|permission| permission.code() == code)
    }

    /// The first part of the code.
    #[must_use]
    pub fn category(self) -> &'static str {
        self.code().split_once('.').map_or(self.code(), |(category, _)| category)
    }

    /// The same in every installation and tenant.
    #[must_use]
    pub fn id(self) -> Uuid {
        Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("urn:omnistream:permission:{}", self.code()).as_bytes())
    }
}

/// A set of permissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions(u32);

impl Permissions {
    pub const NONE: Self = Self(0);
    pub const ALL: Self = Self::of(Permission::ALL);

    #[must_use]
    pub const fn of(list: &[Permission]) -> Self {
        let mut bits = 0;
        let mut i = 0;
        while i < list.len() {
            bits |= 1 << list[i] as u32;
            i += 1;
        }
        Self(bits)
    }

    #[must_use]
    pub const fn contains(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u32) != 0
    }

    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.iter().copied().filter(move |permission| self.contains(*permission))
    }

    /// Codes that are not known (any more) are left out: a right that does not exist cannot be held.
    pub fn from_codes<S: AsRef<str>>(codes: impl IntoIterator<Item = S>) -> Self {
        codes.into_iter().filter_map(|code| Permission::from_code(code.as_ref())).collect()
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        Self(permissions.into_iter().fold(0, |bits, permission| bits | 1 << permission as u32))
    }
}
