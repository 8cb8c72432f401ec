//! `omnistream bench`: every benchmark runs, on next to nothing; its figures then say nothing, but each statement and
//! request of it is made.

use std::collections::HashMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::store::Logs;
use crate::support::command;

/// What `omnistream bench …` prints with `--json`.
async fn bench(line: &str) -> Value {
    let logs = Logs::start().await;
    let mut command = command(&logs.database.owner_url, &HashMap::new());
    command.arg("bench").args(line.split_whitespace()).arg("--json");
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// That everything was measured, under names that are in the report.
#[track_caller]
fn measured(report: &Value, rows: usize, findings: &[&str]) {
    let listed = report["rows"].as_array().unwrap();
    assert_eq!(listed.len(), rows, "{report:#}");
    for row in listed {
        assert!(row["per_second"].as_f64().unwrap() > 0.0, "{row}");
    }
    let found = report["findings"].as_array().unwrap();
    for name in findings {
        let finding = found.iter().find(|f| f["name"].as_str().unwrap().contains(name));
        let figure = finding.unwrap_or_else(|| panic!("no {name}: {report:#}"))["figure"].as_f64();
        assert!(figure.unwrap() > 0.0, "{finding:?}");
    }
}

#[tokio::test]
async fn append_beside_plain_inserts_as_text_and_as_a_picture() {
    let report = bench("append --seconds 0.1 --rounds 1 --waiting 1,64").await;
    measured(&report, 10, &["append, 1 waiting", "append, 64 waiting"]);
    assert!(report["commit"]["p50_ms"].as_f64().unwrap() > 0.0);
    let of_64 = &report["findings"][1];
    assert!(of_64["beside"]["ratio"].as_f64().unwrap() > 0.0, "{of_64}");
    assert_eq!((&of_64["aim"]["of"], of_64["aim"]["limit"].as_f64()), (&"ratio".into(), Some(3.0)));

    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let saved = dir.join("append.json");
    std::fs::write(&saved, report.to_string()).unwrap();
    let shown = command("postgres://nobody@localhost:1/none", &HashMap::new())
        .args(["bench", "show"])
        .arg(&saved)
        .arg("--plot")
        .arg(&dir)
        .output()
        .unwrap();
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(text.contains("append, 64 waiting") && text.contains("plain inserts: "), "{text}");
    let svg = std::fs::read_to_string(dir.join("append-throughput.svg")).unwrap();
    assert!(svg.contains("plain inserts, a transaction each"), "{svg}");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[tokio::test]
async fn requests_beside_a_bare_server() {
    let report = bench("http --seconds 1 --rounds 1 --conversations 20 --idle 0.1").await;
    let findings =
        ["send a message", "respond-async", "/api/roles", "GET /api/conversations", "resident memory"];
    measured(&report, 10, &findings);
}

#[tokio::test]
async fn webhooks_at_a_fixed_rate() {
    let report = bench("webhooks --seconds 0.5 --rounds 1 --rate 50 --customers 5").await;
    measured(&report, 2, &["50/s, p50", "50/s, p99"]);
    for row in report["rows"].as_array().unwrap() {
        assert_eq!(row["per_second"].as_f64(), Some(50.0), "all that were due are counted: {row}");
        assert!(row["max_ms"].as_f64() >= row["p99_ms"].as_f64(), "{row}");
    }
}

#[tokio::test]
async fn projection_beside_appending() {
    let line = "projection --seconds 0.3 --rounds 1 --tenants 2 --customers 3 --waiting 4";
    measured(&bench(line).await, 4, &["live projection", "live projection while appending"]);
}

#[tokio::test]
async fn automation_from_a_message_to_its_action() {
    let line = "automation --seconds 0.2 --rounds 1 --items 5 --probes 3";
    measured(&bench(line).await, 3, &["rule checks", "automation items", "a message to its action"]);
}

#[tokio::test]
async fn a_length_of_nothing_is_refused() {
    let mut command = command("postgres://nobody@localhost:1/none", &HashMap::new());
    let output = command.args(["bench", "append", "--seconds", "0"]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("must be above 0"));
}

#[tokio::test]
async fn an_imported_history_is_provable_and_beside_copy() {
    // The benchmark itself verifies every event that it wrote.
    let report = bench("import --rounds 2 --conversations 12 --messages 6").await;
    measured(&report, 2, &["import of history"]);
}

#[tokio::test]
async fn read_models_made_of_an_imported_history() {
    let report = bench("rebuild --rounds 1 --conversations 20 --messages 5 --verify").await;
    measured(&report, 12, &["rebuild of the inbox", "rebuild of all read models"]);
}

#[tokio::test]
async fn queries_of_a_small_tenant_and_of_a_large_one() {
    let line = "queries --seconds 0.1 --rounds 1 --conversations 12,120 --messages 3";
    let report = bench(line).await;
    measured(&report, 26, &["conversations at 120, p50", "search for an order number at 120, p99"]);
    for row in report["rows"].as_array().unwrap().iter().filter(|row| row["stored"].is_u64()) {
        assert!(row["p99_ms"].as_f64() >= row["p50_ms"].as_f64(), "{row}");
    }
}
