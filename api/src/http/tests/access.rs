use super::*;

/// Every route kind against every caller kind.
#[tokio::test]
async fn each_access_lets_in_exactly_its_callers() {
    let get = Method::GET;
    let rows = [
        // target, then the status for: nobody, agent, sla, supervisor, admin, super
        (get.clone(), "/health", [200; 6]),
        (get.clone(), "/api/me", [401, 200, 200, 200, 200, 401]),
        (get.clone(), "/api/sla", [401, 403, 200, 200, 200, 401]),
        (Method::DELETE, "/api/everything", [401, 403, 403, 403, 200, 401]),
        (get, "/api/super", [401, 401, 401, 401, 401, 200]),
        // Let in, the lack of a body is next.
        (Method::POST, "/api/books", [401, 400, 403, 400, 400, 401]),
    ];
    for (method, target, expected) in rows {
        for (token, status) in ["", "agent", "sla", "supervisor", "admin", "super"].iter().zip(expected) {
            let reply = call(method.clone(), target).as_(token).send().await;
            assert_eq!(reply.status.as_u16(), status, "{method} {target} as {token:?}: {}", reply.text());
        }
    }
}

#[tokio::test]
async fn a_key_does_what_its_agent_may_cut_down_to_its_scopes() {
    let rows = [
        ("key:*", 200, 200, 400),
        ("key:sla.manage", 200, 403, 403),
        ("key:contacts.manage", 403, 403, 400),
        ("key:no.such_code", 403, 403, 403),
    ];
    for (key, sla, everything, create) in rows {
        for (method, target, status) in [
            (Method::GET, "/api/sla", sla),
            (Method::DELETE, "/api/everything", everything),
            (Method::POST, "/api/books", create),
        ] {
            let reply = call(method, target).with("x-api-key", key).send().await;
            assert_eq!(reply.status.as_u16(), status, "{target} with {key}");
        }
    }
}

#[tokio::test]
async fn the_key_wins_over_the_token_and_that_over_the_cookie() {
    let all = |key: &str, token: &str| {
        let call = call(Method::GET, "/api/me").with("cookie", "a=b; access_token=agent; c=d");
        let call = if token.is_empty() { call } else { call.with("authorization", token) };
        if key.is_empty() { call } else { call.with("x-api-key", key) }
    };
    let role = async |call: Call| call.send().await.text().split(' ').next().map(str::to_owned);
    assert_eq!(role(all("", "")).await.as_deref(), Some("agent"));
    assert_eq!(role(all("", "bearer supervisor")).await.as_deref(), Some("supervisor"));
    assert_eq!(role(all("", "Basic c3VwZXI=")).await.as_deref(), Some("agent"));
    assert_eq!(role(all("key:*", "Bearer supervisor")).await.as_deref(), Some("admin"));
    assert_eq!(all("nonsense", "Bearer supervisor").send().await.problem(401), "unauthenticated");
}

#[tokio::test]
async fn another_site_cannot_act_with_the_cookie() {
    let forged = || {
        let call = call(Method::DELETE, "/api/everything").with("cookie", "access_token=admin");
        call.with("sec-fetch-site", "cross-site")
    };
    assert_eq!(forged().with("origin", "https://evil.example").send().await.problem(401), "unauthenticated");
    assert_eq!(forged().with("origin", "https://app.example.com").send().await.status, 200);
    assert_eq!(
        call(Method::DELETE, "/api/everything").with("cookie", "access_token=admin").send().await.status,
        200
    );
}

#[tokio::test]
async fn a_refusal_says_what_is_missing_and_how_to_sign_in() {
    let reply = call(Method::GET, "/api/me").send().await;
    assert_eq!(
        (reply.problem(401).as_str(), reply.header("www-authenticate")),
        ("unauthenticated", "Bearer")
    );
    let reply = call(Method::GET, "/api/sla").as_("agent").send().await;
    assert_eq!(reply.problem(403), "forbidden");
    assert_eq!(reply.json()["detail"], "This needs sla.manage.");
}

#[test]
fn system_roles_hold_what_they_should() {
    use Permission::{AgentsManage, BillingManage, ContactsManage, IntegrationsManage, RolesManage};
    let missing: Vec<_> = Permissions::ALL.without(Role::Supervisor.permissions()).iter().collect();
    assert_eq!(missing, [AgentsManage, IntegrationsManage, RolesManage, BillingManage]);
    let agent: Vec<_> = Role::Agent.permissions().iter().collect();
    assert_eq!(agent, [Permission::ConversationsManage, ContactsManage]);
    assert_eq!(Role::Admin.permissions().iter().count(), 17);
}

#[test]
fn permissions_are_found_by_code_and_keep_their_ids() {
    for permission in Permission::ALL {
        assert_eq!(Permission::from_code(permission.code()), Some(*permission));
        assert_eq!(serde_json::to_value(permission).unwrap(), permission.code());
    }
    assert_eq!(Permission::QuickRepliesManage.category(), "quick_replies");
    assert_eq!(Permission::AuditView.id().to_string(), "8e71580f-30ba-5f65-8303-f7b1330f1946");
}

#[tokio::test]
async fn a_visitor_of_a_public_route_may_still_be_known() {
    let welcome =
        async |token: &str| call(Method::GET, "/api/welcome").as_(token).send().await.text().to_owned();
    assert_eq!(welcome("agent").await, "Welcome, Ada");
    for stranger in ["", "nonsense", "super"] {
        assert_eq!(welcome(stranger).await, "Welcome, stranger", "{stranger}");
    }
}
