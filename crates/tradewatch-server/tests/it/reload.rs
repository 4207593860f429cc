//! New configuration, good and bad.

use http::{Method, StatusCode};
use serde_json::json;
use tradewatch_server::{Options, Server};

use crate::support::*;

async fn refused(options: Options) -> String {
    match Server::start(options).await {
        Ok(_) => panic!("it must not start"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_bad_configuration_keeps_the_old_one_running_and_says_so() {
    let (peer, _) = Peer::with_text("a 1\n").await;
    let folder = Folder::new();
    let server = start(options(&folder, &job(peer.addr, ""))).await;
    until_query(&server, "a", &[1.0]).await;
    folder.write("prometheus.yml", "scrape_configs:\n- job_name: gw\n  scrape_intervall: 5s\n");
    let answer = ask(Method::POST, &url(&server, "/-/reload"), &[], "").await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(text.contains("prometheus.yml:3:3") && text.contains("scrape_intervall"), "{text}");
    let info = get_json(&server, "/api/v1/status/runtimeinfo").await;
    assert_eq!(info["data"]["reloadConfigSuccess"], json!(false));
    let config = get_json(&server, "/api/v1/status/config").await;
    assert!(
        config["warnings"][0].as_str().is_some_and(|line| line.contains("prometheus.yml:3:3")),
        "{config}"
    );
    assert_eq!(server.targets().len(), 1);
    until_query(&server, "up", &[1.0]).await;

    // A broken rule refuses the reload as a whole.
    folder.write("prometheus.yml", &job(peer.addr, ""));
    folder.write("rules.yml", "groups:\n- name: g\n  rules:\n  - record: x\n    expr: sum(\n");
    let error = server.reload().await.expect_err("the rule is broken").to_string();
    assert!(error.contains("rules.yml:5:"), "{error}");

    folder.write(
        "rules.yml",
        "groups:\n- name: g\n  interval: 100ms\n  rules:\n  - record: x\n    expr: sum(a) * 2\n",
    );
    let answer = ask(Method::POST, &url(&server, "/-/reload"), &[], "").await;
    assert_eq!(answer.status, StatusCode::OK);
    until_query(&server, "x", &[2.0]).await;
    let info = get_json(&server, "/api/v1/status/runtimeinfo").await;
    assert_eq!(info["data"]["reloadConfigSuccess"], json!(true));
    server.shutdown().await;
}

#[tokio::test]
async fn a_broken_rule_among_good_ones_is_left_out_at_the_start_and_told() {
    let folder = Folder::new();
    folder.write(
        "rules.yml",
        "groups:\n- name: g\n  interval: 100ms\n  rules:\n  - record: bad\n    expr: sum(\n  - record: good\n    expr: vector(4)\n",
    );
    let server = start(options(&folder, "rule_files: [rules.yml]\n")).await;
    until_query(&server, "good", &[4.0]).await;
    let config = get_json(&server, "/api/v1/status/config").await;
    assert!(config["warnings"][0].as_str().is_some_and(|line| line.contains("rules.yml:6:")), "{config}");
    server.shutdown().await;
}

#[tokio::test]
async fn what_prevents_the_start_is_one_line() {
    let folder = Folder::new();
    let wrong = refused(options(&folder, "global: {scrape_interval: 5 minutes}\n")).await;
    assert!(
        wrong.contains("prometheus.yml:1:") && wrong.contains("5 minutes") && !wrong.contains('\n'),
        "{wrong}"
    );

    let mut open = options(&folder, "");
    open.listen = "0.0.0.0:0".parse().expect("an address");
    let wrong = refused(open.clone()).await;
    assert!(wrong.contains("--web.config.file") && wrong.contains("--insecure"), "{wrong}");
    open.web.insecure = true;
    start(open).await.shutdown().await;

    let first = start(options(&folder, "")).await;
    let mut second = options(&folder, "");
    second.listen = first.addr();
    let wrong = refused(second).await;
    assert!(
        wrong.contains(&first.addr().to_string()) && wrong.contains("in use") && !wrong.contains('\n'),
        "{wrong}"
    );
    first.shutdown().await;

    let mut one = options(&folder, "");
    one.data_dir = Some(folder.path().join("data"));
    let running = start(one.clone()).await;
    let wrong = refused(one.clone()).await;
    assert!(wrong.contains("data directory") && wrong.contains(&std::process::id().to_string()), "{wrong}");
    running.shutdown().await;
    start(one).await.shutdown().await;

    let mut routes = options(&folder, "");
    routes.alertmanager_file =
        Some(folder.write("alertmanager.yml", "route: {receiver: nobody}\nreceivers: []\n"));
    let wrong = refused(routes).await;
    assert!(wrong.contains("alertmanager.yml:1:") && wrong.contains("nobody"), "{wrong}");
}

#[tokio::test]
async fn reload_needs_its_flag() {
    let folder = Folder::new();
    let mut options = options(&folder, "");
    options.web.enable_lifecycle = false;
    let server = start(options).await;
    let answer = ask(Method::POST, &url(&server, "/-/reload"), &[], "").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    server.shutdown().await;
}

#[tokio::test]
async fn admin_calls_are_off_and_quit_is_told() {
    let folder = Folder::new();
    let server = start(options(&folder, "")).await;
    let answer = ask(Method::POST, &url(&server, "/api/v1/admin/tsdb/snapshot"), &[], "").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let answer = ask(Method::POST, &url(&server, "/-/quit"), &[], "").await;
    assert_eq!(answer.status, StatusCode::OK);
    tokio::time::timeout(PATIENCE, server.quit_requested()).await.expect("told");
    server.shutdown().await;
}

#[tokio::test]
async fn a_hangup_reloads() {
    let folder = Folder::new();
    let mut options = options(&folder, "");
    options.reload_on_hangup = true;
    let server = start(options).await;
    folder.write("prometheus.yml", &job("127.0.0.1:1".parse().expect("an address"), ""));
    let hangup = std::process::Command::new("kill").args(["-HUP", &std::process::id().to_string()]).status();
    assert!(hangup.is_ok_and(|status| status.success()));
    eventually(|| async { if server.targets().len() == 1 { Ok(()) } else { Err("not reloaded".into()) } })
        .await;
    server.shutdown().await;
}

#[tokio::test]
async fn samples_are_deleted_and_snapshots_taken_once_that_is_allowed() {
    let (peer, _) = Peer::with_text("a 1\nb 1\n").await;
    let folder = Folder::new();
    let mut options = options(&folder, &job(peer.addr, ""));
    options.data_dir = Some(folder.path().join("data"));
    options.web.enable_admin_api = true;
    let server = start(options).await;
    until_query(&server, "a", &[1.0]).await;
    let admin = |call: &str| url(&server, &format!("/api/v1/admin/tsdb/{call}"));
    let snapshot = ask(Method::POST, &admin("snapshot"), &[], "").await;
    assert_eq!(snapshot.status, StatusCode::OK, "{}", String::from_utf8_lossy(&snapshot.body));
    let json: serde_json::Value = serde_json::from_slice(&snapshot.body).expect("JSON");
    let path = folder.path().join("data/snapshots").join(json["data"]["name"].as_str().expect("a name"));
    let dir = std::sync::Arc::new(tradewatch_tsdb::FsDir::new(&path).expect("a folder"));
    let (copy, recovery) = tradewatch_tsdb::Db::open(dir, Default::default()).expect("it opens");
    assert!(recovery.damage.is_empty() && copy.stats().series > 0);
    let nothing = ask(Method::POST, &admin("delete_series"), &[], "").await;
    assert_eq!(nothing.status, StatusCode::BAD_REQUEST);
    let before = tradewatch_server::clock::now();
    let at = format!("/api/v1/query?query=b&time={}", before.as_secs_f64());
    assert_eq!(get_json(&server, &at).await["data"]["result"].as_array().map(Vec::len), Some(1));
    let gone = ask(Method::POST, &admin("delete_series?match[]=b"), &[], "").await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT, "{}", String::from_utf8_lossy(&gone.body));
    assert_eq!(ask(Method::PUT, &admin("clean_tombstones"), &[], "").await.status, StatusCode::NO_CONTENT);
    // The target goes on to expose it, so what is left of it begins behind the call.
    assert_eq!(get_json(&server, &at).await["data"]["result"].as_array().map(Vec::len), Some(0));
    assert_eq!(query(&server, "a").await.len(), 1);
    server.shutdown().await;
}

#[tokio::test]
async fn a_claim_to_be_in_time_that_cannot_hold_is_an_error() {
    let folder = Folder::new();
    let rule = |hold: &str| {
        let expr = "up{job='gw'} == 0";
        let text = format!(
            "groups:\n- name: g\n  rules:\n  - alert: Late\n    expr: \"{expr}\"\n    for: {hold}\n    labels: {{rts6: 'true'}}\n"
        );
        folder.write("rules.yml", &text)
    };
    let path = rule("1m");
    let expected = format!("{}:4:1: rule \"Late\" is labelled rts6 and may take 1m1s100ms", path.display());
    let server = start(options(&folder, &job("127.0.0.1:1".parse().expect("an address"), ""))).await;
    // It is in force all the same, and the pages say what is wrong with it.
    let status = get_json(&server, "/api/v1/status/config").await;
    let warnings = status["warnings"].to_string();
    assert!(warnings.contains(&expected.replace('"', "\\\"")), "{warnings}");
    let rules = get_json(&server, "/api/v1/rules").await;
    let budget = &rules["data"]["groups"][0]["rules"][0]["latencyBudget"];
    assert_eq!((&budget["withinLimit"], &budget["worst"]), (&false.into(), &61.1.into()), "{budget}");
    let refused = server.reload().await.expect_err("refused").to_string();
    assert!(refused.starts_with(&expected), "{refused}");
    rule("2s");
    server.reload().await.expect("in time now");
    server.shutdown().await;
}
