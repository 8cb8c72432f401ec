//! Registering a tenant: its organization in the platform's log, then its first admin in its own log, then "active".
//!
//! The two logs can't commit together, so the organization remembers what its first admin needs ([`FirstAdmin`]), and
//! whoever finds it half done can finish it: every step has a fixed command id and happens once.

use domain::agent::Agent;
use domain::aggregate::Aggregate;
use domain::billing::Limits;
use domain::event::{Metadata, PLATFORM_TENANT};
use domain::organization::{FirstAdmin, Organization, OrganizationEvent, OrganizationStatus};
use domain::personal::Secret;
use domain::refusal::Refusal;
use domain::role::ADMIN;
use uuid::Uuid;

use crate::agent::{self, NewAgent};
use crate::organization_admin::limits_value;
use crate::store::{Decided, Decision, Origin, Store};
use crate::{CommandError, ids, password};

/// The claim that makes a slug unique; its name is the field that a client sent.
const SLUG: &str = "slug";
/// Characters of a slug that is made from a name: leaves room for a suffix within a DNS label.
const MAX_DERIVED_SLUG: usize = 48;
/// A slug for names that have no letter or digit of ASCII.
const NAMELESS_SLUG: &str = "organization";

/// A tenant as it shall be.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Also the tenant's id.
    pub organization_id: Uuid,
    /// The first admin's.
    pub agent_id: Uuid,
    pub name: String,
    /// Taken as it is; without one it is made from the name.
    pub slug: Option<String>,
    pub country: Option<String>,
    pub limits: Option<Limits>,
    /// Trimmed and in lower case.
    pub admin_email: String,
    pub admin_password: String,
}

/// A tenant that people can sign in to.
#[derive(Clone, Debug)]
pub struct Provisioned {
    pub organization: Decided<Organization>,
    pub admin: Decided<Agent>,
}

/// # Errors
/// Never for a new organization; a taken slug is found by the claim.
pub fn decide_register(
    state: &Organization,
    new: &Registration,
    slug: &str,
    password_hash: &str,
) -> Result<Decision<OrganizationEvent>, Refusal> {
    if state.exists() {
        return Ok(Decision::nothing());
    }
    let registered = OrganizationEvent::Registered {
        name: new.name.trim().to_owned(),
        slug: slug.to_owned(),
        country: new.country.clone(),
        limits: new.limits.as_ref().map(limits_value),
        admin: FirstAdmin {
            agent_id: new.agent_id,
            email: new.admin_email.clone(),
            password_hash: Secret::new(PLATFORM_TENANT, password_hash),
        },
    };
    Ok(Decision::one(registered).claiming(SLUG, slug, new.organization_id))
}

/// # Errors
/// When there is no such organization.
pub fn decide_activate(state: &Organization) -> Result<Decision<OrganizationEvent>, Refusal> {
    if !state.exists() {
        return Err(Refusal::not_found("organization"));
    }
    Ok(match state.status {
        OrganizationStatus::Provisioning => Decision::one(OrganizationEvent::Activated),
        OrganizationStatus::Active | OrganizationStatus::Suspended => Decision::nothing(),
    })
}

/// Registers a tenant and provisions it. `origin` says who asks; a repetition under its command id has no second
/// effect.
///
/// # Errors
/// When a given slug is taken, or the database fails.
pub async fn register(
    store: &Store,
    origin: &Origin,
    new: Registration,
) -> Result<Provisioned, CommandError> {
    let hash = password::hash(new.admin_password.clone()).await?;
    let platform = Origin { tenant_id: PLATFORM_TENANT, ..origin.part("register") };
    let mut slugs = candidates(&new).into_iter().peekable();
    while let Some(slug) = slugs.next() {
        let registered = store
            .execute::<Organization>(&platform, new.organization_id, |state| {
                decide_register(state, &new, &slug, &hash)
            })
            .await;
        match registered {
            Err(CommandError::Refused(refusal))
                if refusal.code == "already_taken" && slugs.peek().is_some() => {}
            Err(error) => return Err(error),
            Ok(_) => break,
        }
    }
    provision(store, new.organization_id, &origin.metadata).await
}

/// Does what is left to do until people can sign in to a registered tenant; nothing if that was done.
///
/// # Errors
/// When there is no such organization, or the database fails.
pub async fn provision(
    store: &Store,
    organization_id: Uuid,
    metadata: &Metadata,
) -> Result<Provisioned, CommandError> {
    let organization: Organization = store.load(PLATFORM_TENANT, organization_id).await?;
    let first = organization.admin.ok_or_else(|| Refusal::not_found("organization"))?;
    let hash = store.vault().open_secret(PLATFORM_TENANT, &first.password_hash).await?;
    let step = |tenant_id, name| Origin {
        command_id: ids::named_id(organization_id, name),
        ..Origin::new(tenant_id, metadata.clone())
    };
    let new = NewAgent {
        full_name: name_from(&first.email),
        email: first.email,
        role: ADMIN.to_owned(),
        password_hash: Secret::new(organization_id, hash),
    };
    let admin = store
        .execute::<Agent>(&step(organization_id, "first admin"), first.agent_id, |state| {
            Ok(agent::create_first(state, first.agent_id, &new))
        })
        .await?;
    let activation = step(PLATFORM_TENANT, "activation");
    let organization = store.execute::<Organization>(&activation, organization_id, decide_activate).await?;
    Ok(Provisioned { organization, admin })
}

/// Nobody was asked for the first admin's name, so it is the address's local part until they change it.
fn name_from(email: &str) -> String {
    email.split('@').next().unwrap_or(email).to_owned()
}

/// Slugs to try, in this order. The last one holds so much of the random id that it is free.
fn candidates(new: &Registration) -> Vec<String> {
    if let Some(slug) = &new.slug {
        return vec![slug.clone()];
    }
    let base = slug_of(&new.name);
    let id = new.organization_id.simple().to_string();
    let suffixed = |digits: usize| format!("{base}-{}", &id[id.len() - digits..]);
    vec![base.clone(), suffixed(4), suffixed(12)]
}

/// Lower-case ASCII letters and digits, in parts joined by single hyphens.
fn slug_of(name: &str) -> String {
    let lower = name.to_lowercase();
    let parts = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    let mut slug = parts.collect::<Vec<_>>().join("-");
    slug.truncate(MAX_DERIVED_SLUG);
    match slug.trim_end_matches('-') {
        "" => NAMELESS_SLUG.to_owned(),
        slug => slug.to_owned(),
    }
}

/// The organization with this slug.
///
/// # Errors
/// Database errors.
pub async fn by_slug(store: &Store, slug: &str) -> Result<Option<Uuid>, CommandError> {
    store.claim_owner(PLATFORM_TENANT, SLUG, slug).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(name: &str) -> Registration {
        Registration {
            organization_id: Uuid::from_u128(0xabcd_ef01_2345),
            agent_id: Uuid::from_u128(2),
            name: name.to_owned(),
            slug: None,
            country: None,
            limits: None,
            admin_email: "ani@toko.id".to_owned(),
            admin_password: String::new(),
        }
    }

    fn organization(status: OrganizationStatus) -> Organization {
        Organization { status, created_at: Some(chrono::DateTime::UNIX_EPOCH), ..Organization::default() }
    }

    #[test]
    fn a_registration_claims_its_slug_and_remembers_the_first_admin() {
        let decision =
            decide_register(&Organization::default(), &registration(" Toko "), "toko", "hash").unwrap();
        assert_eq!((decision.claims[0].scope, decision.claims[0].key.as_str()), ("slug", "toko"));
        let OrganizationEvent::Registered { name, admin, .. } = &decision.events[0] else {
            panic!("registered")
        };
        assert_eq!((name.as_str(), admin.email.as_str()), ("Toko", "ani@toko.id"));
        assert_eq!(admin.password_hash, Secret::new(PLATFORM_TENANT, "hash"));
    }

    #[test]
    fn a_repeated_registration_is_nothing() {
        let known = organization(OrganizationStatus::Active);
        assert!(decide_register(&known, &registration("Toko"), "toko", "hash").unwrap().is_nothing());
    }

    #[test]
    fn only_an_organization_that_is_being_provisioned_is_activated() {
        let activated = decide_activate(&organization(OrganizationStatus::Provisioning)).unwrap();
        assert_eq!(activated.events, [OrganizationEvent::Activated]);
        assert!(decide_activate(&organization(OrganizationStatus::Suspended)).unwrap().is_nothing());
        assert_eq!(decide_activate(&Organization::default()).unwrap_err().code, "not_found");
    }

    #[test]
    fn a_slug_is_made_from_the_name_and_gets_longer_while_it_is_taken() {
        assert_eq!(
            candidates(&registration(" Toko  Maju & Co. ")),
            ["toko-maju-co", "toko-maju-co-2345", "toko-maju-co-abcdef012345"]
        );
        assert_eq!(slug_of("株式会社"), "organization");
        assert_eq!(slug_of(&format!("{} b", "a".repeat(47))), "a".repeat(47));
        let given = Registration { slug: Some("mine".to_owned()), ..registration("Toko") };
        assert_eq!(candidates(&given), ["mine"]);
    }
}
