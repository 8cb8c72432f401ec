//! Who is calling, and who may: the access of a route against the caller of a request.

use uuid::Uuid;

use super::permission::{Permission, Permissions};
use super::problem::{Answer, Problem};

/// What a request brings to prove who sends it. If it brings several, the API key wins over the bearer token, and
/// that over the cookie.
#[derive(Clone)]
pub enum Credentials {
    ApiKey(String),
    Bearer(String),
    Cookie(String),
    None,
}

/// The two audiences: neither's tokens work for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Realm {
    Tenant,
    SuperAdmin,
}

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anyone, without signing in.
    Public,
    /// Any signed-in caller of a tenant.
    Any,
    Permission(Permission),
    /// System role supervisor or admin, or a custom role that holds the permission.
    Supervisor(Permission),
    /// System role admin.
    Admin,
    /// The platform's own administrators.
    Super,
    /// Anyone whose signature over the raw bytes holds; the handler checks it.
    Signature,
}

/// A role as it counts for access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    Admin,
    Supervisor,
    Agent,
    Custom { name: String, permissions: Permissions },
}

/// An agent of a tenant, in person or through an API key.
#[derive(Clone, Debug)]
pub struct Member {
    pub tenant_id: Uuid,
    pub agent_id: Uuid,
    pub name: String,
    pub role: Role,
    pub means: Means,
    /// The super-admin who acts as this agent.
    pub impersonator: Option<Uuid>,
}

/// By what a member signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Means {
    Session { id: Uuid },
    ApiKey { id: Uuid, scopes: Permissions },
}

/// An administrator of the platform.
#[derive(Clone, Debug)]
pub struct SuperAdmin {
    pub id: Uuid,
    pub session_id: Uuid,
    pub name: String,
}

#[derive(Clone, Debug)]
pub enum Caller {
    Public,
    Member(Member),
    SuperAdmin(SuperAdmin),
}

impl Role {
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Admin => "admin",
            Self::Supervisor => "supervisor",
            Self::Agent => "agent",
            Self::Custom { name, .. } => name,
        }
    }

    #[must_use]
    pub const fn permissions(&self) -> Permissions {
        use Permission::{AgentsManage, BillingManage, IntegrationsManage, RolesManage};
        const ADMINS_ONLY: Permissions =
            Permissions::of(&[AgentsManage, IntegrationsManage, RolesManage, BillingManage]);
        match self {
            Self::Admin => Permissions::ALL,
            Self::Supervisor => Permissions::ALL.without(ADMINS_ONLY),
            Self::Agent => Permissions::of(&[Permission::ConversationsManage, Permission::ContactsManage]),
            Self::Custom { permissions, .. } => *permissions,
        }
    }
}

impl Member {
    /// Whether the role holds the permission and, for an API key, its scopes do too.
    #[must_use]
    pub fn may(&self, permission: Permission) -> bool {
        self.role.permissions().contains(permission) && self.scopes().contains(permission)
    }

    /// For handlers whose answer to "may they?" depends on what is asked for.
    ///
    /// # Errors
    /// 403 without the permission.
    pub fn require(&self, permission: Permission) -> Answer<()> {
        if self.may(permission) { Ok(()) } else { Err(lacks(permission.code())) }
    }

    fn scopes(&self) -> Permissions {
        match self.means {
            Means::Session { .. } => Permissions::ALL,
            Means::ApiKey { scopes, .. } => scopes,
        }
    }
}

impl Access {
    /// As the API document's `x-auth` says it.
    #[must_use]
    pub fn notation(self) -> String {
        match self {
            Self::Public => "public".to_owned(),
            Self::Any => "any".to_owned(),
            Self::Permission(permission) => format!("perm:{}", permission.code()),
            Self::Supervisor(_) => "supervisor".to_owned(),
            Self::Admin => "admin".to_owned(),
            Self::Super => "super".to_owned(),
            Self::Signature => "signature".to_owned(),
        }
    }

    /// The audience whose credentials count here; `None` where nobody needs to sign in.
    #[must_use]
    pub const fn realm(self) -> Option<Realm> {
        match self {
            Self::Public | Self::Signature => None,
            Self::Super => Some(Realm::SuperAdmin),
            Self::Any | Self::Permission(_) | Self::Supervisor(_) | Self::Admin => Some(Realm::Tenant),
        }
    }

    /// # Errors
    /// 401 for the wrong kind of caller, 403 for the right kind without the right.
    pub fn admit(self, caller: &Caller) -> Answer<()> {
        match (self.realm(), caller) {
            (None, _) | (Some(Realm::SuperAdmin), Caller::SuperAdmin(_)) => Ok(()),
            (Some(Realm::Tenant), Caller::Member(member)) => self.admit_member(member),
            _ => Err(Problem::unauthenticated()),
        }
    }

    fn admit_member(self, member: &Member) -> Answer<()> {
        let leads = matches!(member.role, Role::Admin | Role::Supervisor);
        let (allowed, needed) = match self {
            Self::Permission(permission) => (member.may(permission), permission.code()),
            Self::Supervisor(permission) => {
                let by_role = leads && member.scopes().contains(permission);
                (by_role || member.may(permission), permission.code())
            }
            // No scope stands for being an admin, so only a key that was not cut down carries it.
            Self::Admin => (member.role == Role::Admin && member.scopes() == Permissions::ALL, "role admin"),
            Self::Public | Self::Any | Self::Super | Self::Signature => (true, ""),
        };
        if allowed { Ok(()) } else { Err(lacks(needed)) }
    }
}

fn lacks(needed: &str) -> Problem {
    Problem::forbidden(format!("This needs {needed}."))
}
