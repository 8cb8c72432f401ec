//! What an agent may do right now, asked at each request in one statement, so that a revocation holds at the next
//! request, whichever process took it.

use domain::agent::Agent;
use domain::aggregate::Aggregate;
use domain::event::PLATFORM_TENANT;
use domain::organization::{Organization, OrganizationStatus};
use domain::role::{ADMIN, AGENT, Role, SUPERVISOR};
use domain::super_admin::SuperAdmin;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

/// An agent that exists, with what decides about its requests.
#[derive(Clone, Debug)]
pub struct Standing {
    pub agent: Agent,
    /// `None` when there is no such organization.
    pub organization: Option<OrganizationStatus>,
    /// Permission codes of the agent's role, if it is one of the tenant's own.
    pub permissions: Option<Vec<String>>,
    /// Whether the super-admin who acts as the agent is one still; true when it is nobody.
    pub impersonator_exists: bool,
}

type Columns = (Json<Agent>, Option<Json<OrganizationStatus>>, Option<Json<Vec<String>>>, bool);

/// Nothing if the agent does not exist or was deleted.
///
/// # Errors
/// Database errors, or a document that does not decode.
pub async fn of_agent(
    db: &mut PgConnection,
    tenant_id: Uuid,
    agent_id: Uuid,
    impersonator: Option<Uuid>,
) -> Result<Option<Standing>, sqlx::Error> {
    let found: Option<Columns> = sqlx::query_as(
        "SELECT a.doc,
             (SELECT o.doc -> 'status' FROM read.documents o
              WHERE o.tenant_id = $3 AND o.collection = $4 AND o.id = $1 AND o.doc IS NOT NULL),
             CASE WHEN a.doc ->> 'role' <> ALL ($5) THEN
                 (SELECT r.doc -> 'permissions' FROM read.documents r
                  WHERE r.tenant_id = $1 AND r.collection = $6 AND r.doc ->> 'name' = a.doc ->> 'role' LIMIT 1) END,
             $7::uuid IS NULL OR EXISTS (
                 SELECT FROM read.documents s
                 WHERE s.tenant_id = $3 AND s.collection = $8 AND s.id = $7 AND s.doc IS NOT NULL)
         FROM read.documents a
         WHERE a.tenant_id = $1 AND a.collection = $9 AND a.id = $2 AND a.doc IS NOT NULL",
    )
    .bind(tenant_id)
    .bind(agent_id)
    .bind(PLATFORM_TENANT)
    .bind(Organization::STREAM)
    .bind([ADMIN, SUPERVISOR, AGENT])
    .bind(Role::STREAM)
    .bind(impersonator)
    .bind(SuperAdmin::STREAM)
    .bind(Agent::STREAM)
    .fetch_optional(db)
    .await?;
    Ok(found.map(|(agent, organization, permissions, impersonator_exists)| Standing {
        agent: agent.0,
        organization: organization.map(|status| status.0),
        permissions: permissions.map(|codes| codes.0),
        impersonator_exists,
    }))
}
