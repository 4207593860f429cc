//! `tradewatch drill --live` against a running demo: its own faults, and those of somebody's hooks.

use crate::drill::platforms;
use crate::support::{Demo, PATIENCE, eventually};
use serde_json::Value as Json;
use std::path::Path;
use std::process::{Command, Output};

const BY_HOOK: &str = "
drills:
  - name: gateway-gone
    about: A command of ours ends the gateway.
    for: 20s
    faults: [{ hook: gateway }]
    expect:
      - { alert: ExecutionGatewayLost, fires_within: 10s, clears_within: 20s }
  - name: nobody-does-it
    about: No command does this.
    for: 10s
    faults: [{ hook: missing }]
    expect:
      - { alert: ExecutionGatewayLost, fires_within: 5s, clears_within: 5s }
";

fn drill(demo: &Demo, args: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tradewatch"))
        .args(["drill", "--platform", "trading-platform", "--live"])
        .args(["--url", &format!("http://{}", demo.monitor())])
        .args(["--data-dir", &demo.folder.path().to_string_lossy()])
        .args(args)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .output()
        .unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output, text)
}

/// Whether the monitor has the proof of an alert.
async fn proof(demo: &Demo, alert: &str) -> Option<Json> {
    let all = demo.get(&format!("/api/tradewatch/v1/drills?alert={alert}")).await?;
    all.get(0).cloned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_the_demo_is_made_told_and_taken_back_and_the_monitor_knows_of_it() {
    let demo = Demo::start(&[]).await;
    let (output, text) = drill(&demo, &["--only", "breaker-tripped", "--only", "gateway-hung"]);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("2 of 2 alerts proven by 2 drills"), "{text}");
    for alert in ["CircuitBreakerTripped", "ExecutionGatewayLost"] {
        let proof = eventually("the proof", PATIENCE, async || proof(&demo, alert).await).await;
        assert_eq!((&proof["proven"], &proof["way"]), (&Json::Bool(true), &Json::from("live")), "{proof}");
    }
    let marks = demo.get("/api/annotations?tags=drill").await.unwrap().to_string();
    assert!(marks.contains("drill gateway-hung: the fault is taken back"), "{marks}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_is_made_by_the_commands_of_a_staging_and_one_without_is_named() {
    let demo = Demo::start(&[]).await;
    let folder = platforms(BY_HOOK);
    let of = |action: &str| {
        format!(
            "{} service {action} execution-gateway --data-dir {}",
            env!("CARGO_BIN_EXE_tradewatch"),
            demo.folder.path().display()
        )
    };
    let hooks = folder.path().join("hooks.yml");
    std::fs::write(&hooks, format!("gateway: {{ inject: '{}', undo: '{}' }}\n", of("kill"), of("start")))
        .unwrap();
    let hooks = hooks.to_string_lossy().into_owned();
    let at = folder.path().to_string_lossy().into_owned();
    let (output, text) = drill(&demo, &["--platforms", &at, "--hooks", &hooks, "--only", "gateway-gone"]);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let (output, text) = drill(&demo, &["--platforms", &at, "--hooks", &hooks, "--only", "nobody-does-it"]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("no hook is called \"missing\"; there are gateway"), "{text}");
    // Without the file nothing of it can be played.
    let (output, text) = drill(&demo, &["--platforms", &at]);
    assert!(output.status.code() != Some(0) && text.contains("its fault is a hook; name --hooks"), "{text}");
}
