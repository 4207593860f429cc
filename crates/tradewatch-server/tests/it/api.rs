//! The Prometheus API: texts as Prometheus gives them.

use http::{Method, StatusCode};
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn a_target_is_scraped_and_queries_are_answered() {
    let (peer, _) = Peer::with_text(
        "# HELP orders_total Orders handled.\n# TYPE orders_total counter\norders_total{side=\"buy\"} 3\norders_total{side=\"sell\"} 4.5\n",
    )
    .await;
    let folder = Folder::new();
    let server = start(options(&folder, &job(peer.addr, ""))).await;
    until_query(&server, "orders_total", &[3.0, 4.5]).await;
    until_query(&server, "up", &[1.0]).await;
    until_query(&server, "scrape_samples_scraped", &[2.0]).await;
    let instance = peer.addr.to_string();
    let answer = get_json(
        &server,
        &format!("/api/v1/query?query={}&time=2000000000", encoded("sum(orders_total offset 5m)")),
    )
    .await;
    assert_eq!(answer, json!({"status": "success", "data": {"resultType": "vector", "result": []}}));
    let answer = get_json(&server, "/api/v1/query?query=vector(1.5)&time=1435781430.781").await;
    assert_eq!(
        answer["data"],
        json!({"resultType": "vector", "result": [{"metric": {}, "value": [1435781430.781, "1.5"]}]})
    );
    let answer = get_json(&server, "/api/v1/query?query=%22text%22&time=1").await;
    assert_eq!(answer["data"], json!({"resultType": "string", "result": [1, "text"]}));
    let answer = get_json(&server, "/api/v1/query_range?query=1%2B1&start=0&end=20&step=10").await;
    assert_eq!(
        answer["data"],
        json!({"resultType": "matrix", "result": [{"metric": {}, "values": [[0, "2"], [10, "2"], [20, "2"]]}]})
    );
    let form = "query=orders_total%7Bside%3D%22buy%22%7D";
    let headers = [("content-type", "application/x-www-form-urlencoded".to_owned())];
    let posted = ask(Method::POST, &url(&server, "/api/v1/query"), &headers, form).await;
    let posted: serde_json::Value = serde_json::from_slice(&posted.body).expect("JSON");
    assert_eq!(
        posted["data"]["result"][0]["metric"],
        json!({"__name__": "orders_total", "instance": instance, "job": "gw", "side": "buy"})
    );
    let series = get_json(&server, "/api/v1/series?match[]=orders_total").await;
    assert_eq!(series["data"].as_array().map(Vec::len), Some(2));
    let labels = get_json(&server, "/api/v1/labels?match[]=orders_total").await;
    assert_eq!(labels["data"], json!(["__name__", "instance", "job", "side"]));
    let values = get_json(&server, "/api/v1/label/side/values").await;
    assert_eq!(values["data"], json!(["buy", "sell"]));
    let limited = get_json(&server, "/api/v1/label/side/values?limit=1").await;
    assert_eq!(
        (&limited["data"], &limited["warnings"]),
        (&json!(["buy"]), &json!(["results truncated due to limit"]))
    );
    let metadata = get_json(&server, "/api/v1/metadata?metric=orders_total").await;
    assert_eq!(
        metadata["data"],
        json!({"orders_total": [{"type": "counter", "help": "Orders handled.", "unit": ""}]})
    );
    let formatted = get_json(&server, "/api/v1/format_query?query=sum(up)by(job)").await;
    assert_eq!(formatted["data"], json!("sum by (job) (up)"));
    let targets = get_json(&server, "/api/v1/targets").await;
    let target = &targets["data"]["activeTargets"][0];
    assert_eq!(
        (&target["health"], &target["scrapePool"], &target["lastError"]),
        (&json!("up"), &json!("gw"), &json!(""))
    );
    assert_eq!(target["scrapeInterval"], json!("100ms"));
    server.shutdown().await;
}

#[tokio::test]
async fn newest_samples_are_given_on_to_another_prometheus() {
    let (peer, _) = Peer::with_text("orders_total{side=\"buy\"} 3\norders_total{side=\"sell\"} 4.5\n").await;
    let folder = Folder::new();
    let yml = job(peer.addr, "").replace("global: {", "global: {external_labels: {site: ny}, ");
    let server = start(options(&folder, &yml)).await;
    until_query(&server, "orders_total", &[3.0, 4.5]).await;
    let path = format!("/federate?match[]={}&match[]=up", encoded("orders_total{side=\"buy\"}"));
    let answer = get(&server, &path).await;
    assert_eq!(answer.content_type, "text/plain; version=0.0.4; charset=utf-8");
    let text = String::from_utf8_lossy(&answer.body);
    let lines: Vec<&str> =
        text.lines().map(|line| line.rsplit_once(' ').map_or(line, |(line, _)| line)).collect();
    let instance = peer.addr;
    assert_eq!(
        lines,
        [
            "# TYPE orders_total".to_owned(),
            format!("orders_total{{instance=\"{instance}\",job=\"gw\",side=\"buy\",site=\"ny\"}} 3"),
            "# TYPE up".to_owned(),
            format!("up{{instance=\"{instance}\",job=\"gw\",site=\"ny\"}} 1"),
        ]
    );
    assert_eq!(get(&server, "/federate").await.status, StatusCode::BAD_REQUEST);
    server.shutdown().await;
}

#[tokio::test]
async fn a_slow_query_is_listed() {
    let folder = Folder::new();
    let mut options = options(&folder, "");
    options.query.log_slower_than = Some(std::time::Duration::ZERO);
    let server = start(options).await;
    get(&server, "/api/v1/query_range?query=vector(1)%20%2B%201&start=0&end=20&step=10").await;
    let listed = get_json(&server, "/api/tradewatch/v1/slow_queries").await;
    let one = listed.as_array().and_then(|all| all.iter().find(|one| one["query"] == "vector(1) + 1"));
    let one = one.unwrap_or_else(|| panic!("{listed}"));
    assert_eq!((&one["start"], &one["end"], &one["step"]), (&json!(0), &json!(20_000), &json!(10.0)));
    server.shutdown().await;
}

#[tokio::test]
async fn errors_have_prometheus_form_and_status() {
    let folder = Folder::new();
    let server = start(options(&folder, "")).await;
    for (path, status, kind, text) in [
        ("/api/v1/query?query=up%7B", StatusCode::BAD_REQUEST, "bad_data", "invalid parameter \"query\""),
        ("/api/v1/query", StatusCode::BAD_REQUEST, "bad_data", "invalid parameter \"query\""),
        (
            "/api/v1/query?query=up&time=soon",
            StatusCode::BAD_REQUEST,
            "bad_data",
            "invalid parameter \"time\"",
        ),
        (
            "/api/v1/query_range?query=up&start=0&end=100000&step=1",
            StatusCode::BAD_REQUEST,
            "bad_data",
            "11,000 points",
        ),
        (
            "/api/v1/query_range?query=up&start=2&end=1&step=1",
            StatusCode::BAD_REQUEST,
            "bad_data",
            "must not be before",
        ),
        (
            "/api/v1/query_range?query=up&start=0&end=1&step=0",
            StatusCode::BAD_REQUEST,
            "bad_data",
            "zero or negative",
        ),
        ("/api/v1/series", StatusCode::BAD_REQUEST, "bad_data", "no match[] parameter provided"),
        ("/api/v1/series?match[]=%7B%7D", StatusCode::BAD_REQUEST, "bad_data", "match[]"),
        (
            "/api/v1/query_range?query=up[5m]&start=0&end=1&step=1",
            StatusCode::BAD_REQUEST,
            "bad_data",
            "must be Scalar or instant Vector",
        ),
        ("/api/v1/query?query=vector(1)&timeout=0", StatusCode::SERVICE_UNAVAILABLE, "timeout", "timed out"),
        ("/api/v1/rules?type=other", StatusCode::BAD_REQUEST, "bad_data", "not supported value"),
        ("/api/v1/nothing", StatusCode::NOT_FOUND, "not_found", "/api/v1/nothing"),
    ] {
        let answer = get(&server, path).await;
        let body: serde_json::Value = serde_json::from_slice(&answer.body).expect(path);
        assert_eq!(
            (answer.status, &body["status"], &body["errorType"]),
            (status, &json!("error"), &json!(kind)),
            "{path}"
        );
        assert!(body["error"].as_str().is_some_and(|error| error.contains(text)), "{path}: {body}");
    }
    assert_eq!(get(&server, "/-/healthy").await.status, StatusCode::OK);
    assert_eq!(get(&server, "/-/ready").await.status, StatusCode::OK);
    for path in ["config", "flags", "runtimeinfo", "buildinfo", "tsdb"] {
        let body = get_json(&server, &format!("/api/v1/status/{path}")).await;
        assert_eq!(body["status"], json!("success"), "{path}");
    }
    server.shutdown().await;
}

/// The parameters by which Grafana's alert list asks for rules.
#[tokio::test]
async fn rules_are_filtered_and_given_in_pages() {
    let folder = Folder::new();
    for file in ["a", "b"] {
        folder.write(
            &format!("rules-{file}.yml"),
            "groups:\n- name: one\n  rules:\n  - alert: X\n    expr: vector(1)\n    labels: {severity: critical}\n  - record: r:one\n    expr: vector(1)\n- name: two\n  rules:\n  - alert: Y\n    expr: vector(1)\n    labels: {severity: low}\n",
        );
    }
    let server = start(options(&folder, "rule_files: ['rules*.yml']\n")).await;
    let file = |name: &str| encoded(&folder.path().join(name).display().to_string());
    let rules = async |query: &str| -> String {
        let answer = get_json(&server, &format!("/api/v1/rules?{query}")).await;
        let Some(groups) = answer["data"]["groups"].as_array() else { return answer["error"].to_string() };
        let shown: Vec<String> = groups
            .iter()
            .map(|group| {
                let file = group["file"].as_str().expect("text").rsplit('/').next().expect("a name");
                let names: Vec<&str> = group["rules"]
                    .as_array()
                    .expect("a list")
                    .iter()
                    .map(|rule| rule["name"].as_str().expect("text"))
                    .collect();
                format!("{}:{}[{}]", &file[6..7], group["name"].as_str().expect("text"), names.join(" "))
            })
            .collect();
        shown.join(" ")
    };
    let all = "a:one[X r:one] a:two[Y] b:one[X r:one] b:two[Y]";
    for (query, expected) in [
        (String::new(), all),
        ("type=alert".into(), "a:one[X] a:two[Y] b:one[X] b:two[Y]"),
        ("type=record".into(), "a:one[r:one] b:one[r:one]"),
        ("rule_name[]=X&rule_name[]=Y&rule_group[]=two".into(), "a:two[Y] b:two[Y]"),
        (format!("file[]={}", file("rules-b.yml")), "b:one[X r:one] b:two[Y]"),
        (format!("match[]={}", encoded("{severity=~\"crit.*\"}")), "a:one[X] b:one[X]"),
        ("group_limit=2".into(), "a:one[X r:one] a:two[Y]"),
        ("group_limit=9".into(), all),
        ("group_limit=0".into(), "\"group_limit needs to be greater than 0, not \\\"0\\\"\""),
        (
            "group_next_token=x".into(),
            "\"group_limit needs to be present in order to paginate over the groups\"",
        ),
        (
            "group_limit=1&group_next_token=x".into(),
            "\"invalid group_next_token 'x'. were rule groups changed?\"",
        ),
    ] {
        assert_eq!(rules(&query).await, expected, "{query}");
    }
    // Page by page all come, each once.
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page =
            get_json(&server, &format!("/api/v1/rules?group_limit=1&exclude_alerts=true{token}")).await;
        let groups = page["data"]["groups"].as_array().expect("a list").clone();
        assert!(groups.iter().all(|group| group["rules"][0]["alerts"] == serde_json::json!([])), "{page}");
        seen.extend(groups.iter().map(|group| format!("{}{}", group["file"], group["name"])));
        let Some(next) = page["data"]["groupNextToken"].as_str() else { break };
        token = format!("&group_next_token={next}");
    }
    seen.dedup();
    assert_eq!(seen.len(), 4);
    server.shutdown().await;
}
