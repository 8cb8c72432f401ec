//! When a tenant works, and what its customers may know of it.

use chrono::{DateTime, Datelike, TimeDelta, Timelike, Utc};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Client, Server, Tenant, id_of};

const HOURS: &str = "/api/working-hours";
const ZONE: &str = "/api/tenant/timezone";

fn window(day: u32, start: &str, end: &str) -> Value {
    json!({ "day_of_week": day, "start_time": start, "end_time": end, "is_active": true })
}

fn schedule(windows: &[Value]) -> Value {
    json!({ "schedule": windows })
}

async fn division(tenant: &Tenant, name: &str) -> Uuid {
    id_of(&tenant.admin.post("/api/divisions", json!({ "name": name })).await.expect(StatusCode::CREATED))
}

/// What the customers see; the slug is the tenant's.
async fn status(server: &Server, tenant: &Tenant, division: Option<Uuid>) -> Value {
    let root = server.super_admin().await;
    let path = format!("/api/super-admin/tenants/{}", tenant.id);
    let slug = root.get(&path).await.expect(StatusCode::OK)["slug"].as_str().expect("a slug").to_owned();
    let division = division.map(|id| format!("&division_id={id}")).unwrap_or_default();
    server.client().get(&format!("{HOURS}/status?org={slug}{division}")).await.expect(StatusCode::OK)
}

/// The windows as they were written.
fn written(rows: &Value) -> Vec<Value> {
    let fields = ["day_of_week", "start_time", "end_time", "is_active"];
    let of = |row: &Value| fields.iter().map(|name| ((*name).to_owned(), row[*name].clone())).collect();
    rows.as_array().expect("a list").iter().map(of).collect()
}

async fn put(client: &Client, path: &str, body: Value) -> Value {
    client.put(path, body).await.expect(StatusCode::OK)
}

#[tokio::test]
async fn a_week_is_written_as_a_whole_and_read_by_everyone() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let (agent, _) = tenant.agent("agent").await;
    assert_eq!(agent.get(HOURS).await.expect(StatusCode::OK), json!([]));
    let mut closed = window(0, "00:00", "24:00");
    closed["is_active"] = json!(false);
    let week = [window(1, "09:00", "12:00"), window(1, "13:00", "17:00"), closed];
    let rows = put(&tenant.admin, HOURS, schedule(&week)).await;
    assert_eq!(written(&rows), week);
    assert!(rows.as_array().unwrap().iter().all(|row| row["division_id"].is_null() && row["id"].is_string()));
    assert_eq!(agent.get(HOURS).await.expect(StatusCode::OK), rows);
    let again = tenant.admin.put(HOURS, schedule(&week)).await;
    again.expect(StatusCode::OK);
    assert_eq!(again.header("x-event-position"), None, "nothing was appended");
    let rows = put(&tenant.admin, HOURS, schedule(&week[..1])).await;
    assert_eq!(written(&rows), week[..1]);
    agent.put(HOURS, schedule(&week)).await.problem(403, "forbidden");
    let stranger = server.tenant().await;
    assert_eq!(stranger.admin.get(HOURS).await.expect(StatusCode::OK), json!([]));
}

#[tokio::test]
async fn a_week_that_can_not_be_is_refused_by_the_field_of_the_window() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let id = division(&tenant, "Sales").await;
    let of_division = format!("/api/divisions/{id}/working-hours");
    let fine = window(1, "09:00", "17:00");
    let mut unknown = fine.clone();
    unknown["note"] = json!("lunch");
    for (bad, field) in [
        (window(7, "09:00", "17:00"), "schedule[1].day_of_week"),
        (window(2, "9:00", "17:00"), "schedule[1].start_time"),
        (window(2, "09:00", "24:01"), "schedule[1].end_time"),
        (window(2, "17:00", "09:00"), "schedule[1].end_time"),
        (window(2, "09:00", "09:00"), "schedule[1].end_time"),
        (window(1, "16:59", "18:00"), "schedule[1].start_time"),
        (unknown, "schedule[1].note"),
    ] {
        for path in [HOURS, &of_division] {
            tenant.admin.put(path, schedule(&[fine.clone(), bad.clone()])).await.names_fields(&[field]);
        }
    }
    let many: Vec<Value> = (0..43).map(|n| window(0, &format!("{:02}:00", n % 24), "24:00")).collect();
    tenant.admin.put(HOURS, schedule(&many)).await.names_fields(&["schedule"]);
    tenant.admin.put(HOURS, json!({})).await.names_fields(&["schedule"]);
    for path in [HOURS, &of_division] {
        assert_eq!(tenant.admin.get(path).await.expect(StatusCode::OK), json!([]), "nothing changed");
    }
}

#[tokio::test]
async fn a_division_has_hours_of_its_own_until_they_are_taken_away() {
    let server = Server::start().await;
    let (tenant, stranger) = (server.tenant().await, server.tenant().await);
    let id = division(&tenant, "Night shift").await;
    let path = format!("/api/divisions/{id}/working-hours");
    let night = [window(5, "22:00", "24:00")];
    let rows = put(&tenant.admin, &path, schedule(&night)).await;
    assert_eq!((written(&rows), &rows[0]["division_id"]), (night.to_vec(), &json!(id)));
    assert_eq!(tenant.admin.get(&path).await.expect(StatusCode::OK), rows);
    assert_eq!(tenant.admin.get(HOURS).await.expect(StatusCode::OK), json!([]), "not the tenant's");
    let (agent, _) = tenant.agent("agent").await;
    agent.get(&path).await.expect(StatusCode::OK);
    agent.put(&path, schedule(&[])).await.problem(403, "forbidden");
    agent.delete(&path).await.problem(403, "forbidden");
    for (method, body) in [(Method::GET, None), (Method::PUT, Some(schedule(&night))), (Method::DELETE, None)]
    {
        stranger.admin.send(method, &path, body).await.problem(404, "not_found");
    }
    tenant.admin.delete(&path).await.expect(StatusCode::OK);
    assert_eq!(tenant.admin.get(&path).await.expect(StatusCode::OK), json!([]));
    let again = tenant.admin.delete(&path).await;
    again.expect(StatusCode::OK);
    assert_eq!(again.header("x-event-position"), None, "nothing was appended");
}

#[tokio::test]
async fn the_time_zone_is_one_of_the_worlds() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let (agent, _) = tenant.agent("agent").await;
    let before = agent.get(ZONE).await.expect(StatusCode::OK);
    assert_eq!(before, json!({ "timezone": "Asia/Jakarta" }));
    for bad in ["Mars/Olympus", "asia/jakarta", "+07:00", ""] {
        tenant.admin.put(ZONE, json!({ "timezone": bad })).await.names_fields(&["timezone"]);
    }
    agent.put(ZONE, json!({ "timezone": "UTC" })).await.problem(403, "forbidden");
    assert_eq!(agent.get(ZONE).await.expect(StatusCode::OK), before);
    let berlin = json!({ "timezone": "Europe/Berlin" });
    assert_eq!(put(&tenant.admin, ZONE, berlin.clone()).await, berlin);
    assert_eq!(agent.get(ZONE).await.expect(StatusCode::OK), berlin);
    assert_eq!(status(&server, &tenant, None).await["timezone"], "Europe/Berlin");
}

#[tokio::test]
async fn customers_see_whether_somebody_is_there() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let id = division(&tenant, "Sales").await;
    // No hours at all: always at work.
    let shown = status(&server, &tenant, Some(id)).await;
    assert_eq!((&shown["is_open"], &shown["next_open_at"]), (&json!(true), &Value::Null));
    // The division's hours come before the tenant's; in a zone where it is about noon, so that no midnight is near.
    let now = Utc::now();
    let east = (12 - i64::from(now.hour()) + 12).rem_euclid(24) - 12;
    let zone = if east >= 0 { format!("Etc/GMT-{east}") } else { format!("Etc/GMT+{}", -east) };
    put(&tenant.admin, ZONE, json!({ "timezone": zone })).await;
    let local = now + TimeDelta::hours(east);
    let today = local.weekday().num_days_from_sunday();
    put(&tenant.admin, HOURS, schedule(&[window(today, "08:00", "20:00")])).await;
    let tomorrow = (today + 1) % 7;
    let path = format!("/api/divisions/{id}/working-hours");
    put(&tenant.admin, &path, schedule(&[window(tomorrow, "06:00", "07:00")])).await;
    assert_eq!(status(&server, &tenant, None).await["is_open"], true);
    let shown = status(&server, &tenant, Some(id)).await;
    assert_eq!((&shown["is_open"], &shown["timezone"]), (&json!(false), &json!(zone)));
    let next: DateTime<Utc> = shown["next_open_at"].as_str().expect("a time").parse().unwrap();
    let six =
        (local.date_naive() + TimeDelta::days(1)).and_hms_opt(6, 0, 0).unwrap() - TimeDelta::hours(east);
    assert_eq!(next, six.and_utc());
    // All days closed: nobody comes.
    let mut closed = window(today, "00:00", "24:00");
    closed["is_active"] = json!(false);
    put(&tenant.admin, &path, schedule(&[closed])).await;
    let shown = status(&server, &tenant, Some(id)).await;
    assert_eq!((&shown["is_open"], &shown["next_open_at"]), (&json!(false), &Value::Null));
    tenant.admin.delete(&path).await.expect(StatusCode::OK);
    assert_eq!(status(&server, &tenant, Some(id)).await["is_open"], true, "the tenant's hours hold again");
}

#[tokio::test]
async fn nobody_learns_about_shops_that_are_not_there() {
    let server = Server::start().await;
    let (tenant, stranger) = (server.tenant().await, server.tenant().await);
    let anyone = server.client();
    anyone.get(&format!("{HOURS}/status?org=nobody")).await.problem(404, "not_found");
    anyone.get(&format!("{HOURS}/status")).await.names_fields(&["org"]);
    let root = server.super_admin().await;
    let path = format!("/api/super-admin/tenants/{}", tenant.id);
    let slug = root.get(&path).await.expect(StatusCode::OK)["slug"].as_str().unwrap().to_owned();
    let theirs = division(&stranger, "Theirs").await;
    let path_of = |division: String| format!("{HOURS}/status?org={slug}{division}");
    anyone.get(&path_of(format!("&division_id={theirs}"))).await.problem(404, "not_found");
    anyone.get(&path_of("&division_id=7".to_owned())).await.names_fields(&["division_id"]);
    root.delete(&path).await.expect(StatusCode::OK);
    anyone.get(&path_of(String::new())).await.problem(404, "not_found");
}
