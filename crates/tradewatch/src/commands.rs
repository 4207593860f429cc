//! The short commands: ask, act, test, train.

use crate::demo::control::{self, Request};
use crate::{DeadmanArgs, QueryArgs, ServeArgs};
use anyhow::{Context, Result, bail};
use serde_json::Value as Json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tradewatch_platforms::runtime::http::Client;
use tradewatch_platforms::runtime::{Clock, Net, Shutdown};
use tradewatch_platforms::trading_platform;
use tradewatch_server::dashboards::Folder;
use tradewatch_server::deadman::{self, Deadman, Expected};
use tradewatch_server::monitor::Loaded;
use tradewatch_server::{Options, QueryOptions, Server};

/// How long a question to another process may take.
const CALL_MAX: Duration = Duration::from_secs(30);

pub fn client() -> Client {
    Client::new(Net::Tcp, CALL_MAX)
}

/// `tradewatch query`: the answer as one line per series.
pub async fn query(args: QueryArgs) -> Result<ExitCode> {
    let monitor = base_url(&args.url);
    let mut url = format!("{monitor}/api/v1/query?query={}", encode(&args.expr));
    if let Some(time) = &args.time {
        url += &format!("&time={}", encode(time));
    }
    let answer = client()
        .get(&url)
        .await
        .with_context(|| format!("no monitor answers at {monitor}; name it with --url"))?;
    let json: Json = answer.json()?;
    if json["status"] != "success" {
        bail!("{}", json["error"].as_str().unwrap_or("the monitor refused the query and gave no reason"));
    }
    for kind in ["warnings", "infos"] {
        for text in json[kind].as_array().into_iter().flatten().filter_map(Json::as_str) {
            eprintln!("{text}");
        }
    }
    crate::out!("{}", lines(&json["data"]));
    Ok(ExitCode::SUCCESS)
}

/// What was given as the monitor's address, as the beginning of a URL.
pub fn base_url(text: &str) -> String {
    let text = text.trim_end_matches('/');
    if text.contains("://") { text.to_owned() } else { format!("http://{text}") }
}

/// The result of an instant query as text: labels, then the value.
fn lines(data: &Json) -> String {
    let value = |pair: &Json| pair[1].as_str().unwrap_or_default().to_owned();
    match data["resultType"].as_str() {
        Some("scalar" | "string") => format!("{}\n", value(&data["result"])),
        Some("vector") => {
            let rows: Vec<(String, String)> = data["result"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|row| {
                    (
                        labels(&row["metric"]),
                        if row["histogram"].is_null() {
                            value(&row["value"])
                        } else {
                            row["histogram"][1].to_string()
                        },
                    )
                })
                .collect();
            let width = rows.iter().map(|(labels, _)| labels.chars().count()).max().unwrap_or(0);
            if rows.is_empty() {
                return "no series\n".into();
            }
            rows.iter().map(|(labels, value)| format!("{labels:<width$}  {value}\n")).collect()
        }
        _ => {
            let mut text = String::new();
            for row in data["result"].as_array().into_iter().flatten() {
                text += &format!("{}\n", labels(&row["metric"]));
                for pair in row["values"].as_array().into_iter().flatten() {
                    text += &format!("  {}  {}\n", pair[0], value(pair));
                }
            }
            text
        }
    }
}

fn labels(metric: &Json) -> String {
    let name = metric["__name__"].as_str().unwrap_or_default();
    let pairs: Vec<String> = metric
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| *name != "__name__")
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    if pairs.is_empty() && !name.is_empty() {
        name.to_owned()
    } else {
        format!("{name}{{{}}}", pairs.join(", "))
    }
}

/// Percent-encodes a parameter of a URL.
pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// Asks a running demo and prints its answer.
pub async fn ask(data_dir: &Path, request: Request) -> Result<ExitCode> {
    let reply = control::ask(data_dir, &request).await?;
    match request {
        Request::List => crate::out!("{}", control::table(&reply.services)),
        _ => crate::outln!("{}", reply.message),
    }
    Ok(ExitCode::SUCCESS)
}

/// Trips or resets the circuit breaker of a running demo.
pub async fn breaker(data_dir: &Path, action: &str) -> Result<ExitCode> {
    let gateway =
        control::ask(data_dir, &Request::Address { name: "execution-gateway".into() }).await?.message;
    let url = format!("http://{gateway}/api/v1/breaker/{action}");
    let answer = client()
        .post(&url, &serde_json::json!({ "by": "command line" }))
        .await
        .context("the execution gateway does not answer; `tradewatch service list` tells how it is doing")?;
    let json: Json = answer.json().unwrap_or_default();
    if !answer.is_success() {
        bail!("the gateway refuses: {}", json["error"].as_str().unwrap_or(&answer.text()));
    }
    crate::outln!("{}", breaker_line(&json, jiff::Timestamp::now()));
    Ok(ExitCode::SUCCESS)
}

/// What the gateway did to its breaker, in a line.
fn breaker_line(answer: &Json, now: jiff::Timestamp) -> String {
    let mut line = if answer["tripped"] == true && answer["news"] == false {
        "the circuit breaker is tripped already".to_owned()
    } else if answer["tripped"] == true {
        "circuit breaker tripped: new positions are blocked until `tradewatch breaker reset`".to_owned()
    } else {
        let until = answer["breaker"]["until"]
            .as_i64()
            .map_or(0, |until| until / 1_000_000_000 - now.as_second())
            .max(0);
        format!("circuit breaker reset: trading goes on after a quiet period of {until} s")
    };
    if answer["saved"] == false {
        line += "; the gateway could not write that to its database, so a restart would forget it";
    }
    line
}

/// Watches what a prometheus.yml names, until Ctrl-C, or `POST /-/quit` where that is allowed.
pub async fn serve(args: ServeArgs) -> Result<ExitCode> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    let interrupted = crate::demo::interrupted()?;
    std::fs::create_dir_all(&args.data_dir).with_context(|| format!("create {}", args.data_dir.display()))?;
    let mut options = Options {
        config_file: Some(args.config),
        alertmanager_file: args.alertmanager_config,
        listen: args.listen,
        data_dir: Some(args.data_dir),
        retention: args.retention,
        retention_bytes: args.retention_size,
        out_of_order_window: args.out_of_order_window.unwrap_or_default(),
        runbooks: args.runbooks,
        calendar_overlay: args.calendar_overlay,
        reload_on_hangup: true,
        ..Options::default()
    };
    if !args.mics.is_empty() {
        options.mics = args.mics;
    }
    options.dashboards = args.dashboards.iter().map(Folder::of).collect();
    options.web.config_file = args.web_config;
    options.web.insecure = args.insecure;
    options.web.enable_lifecycle = args.enable_lifecycle;
    options.web.enable_admin_api = args.enable_admin_api;
    if args.heartbeat_url.is_some() || args.heartbeat_url_file.is_some() {
        options.heartbeat = Some(tradewatch_server::heartbeat::Options {
            url: args.heartbeat_url.unwrap_or_default().into(),
            url_file: args.heartbeat_url_file,
            every: args.heartbeat_every,
        });
    }
    options.query = QueryOptions {
        lookback: args.lookback,
        timeout: args.query_timeout,
        concurrency: args.query_concurrency as usize,
        samples_max: args.query_samples_max,
        log_slower_than: Some(args.query_log_slower_than),
    };
    options.web.enable_remote_write_receiver = args.enable_remote_write_receiver;
    options.web.enable_otlp_receiver = args.enable_otlp_receiver;
    options.web.enable_push_receiver = args.enable_push_receiver;
    let server = Server::start(options).await?;
    crate::outln!("tradewatch {} answers on http://{}", env!("CARGO_PKG_VERSION"), server.addr());
    tokio::select! {
        () = interrupted => {}
        () = server.quit_requested() => {}
    }
    server.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

/// Awaits the heartbeats of monitors, until Ctrl-C.
pub async fn deadman(args: DeadmanArgs) -> Result<ExitCode> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    let interrupted = crate::demo::interrupted()?;
    let expected =
        args.expect.iter().map(|text| Expected::parse(text, args.grace).map_err(anyhow::Error::msg));
    let mut webhooks = args.webhook;
    for file in &args.webhook_file {
        let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        webhooks.push(text.trim().to_owned());
    }
    let options = deadman::Options {
        listen: args.listen,
        expected: expected.collect::<Result<_>>()?,
        webhooks: webhooks.into_iter().map(Into::into).collect(),
        repeat: args.repeat,
        state_file: Some(args.state),
        web_config: args.web_config,
        insecure: args.insecure,
        terminal: None,
    };
    let awaited: Vec<String> = options
        .expected
        .iter()
        .map(|one| format!("{} every {:?}, at most {:?} late", one.name, one.every, one.grace))
        .collect();
    let deadman = Deadman::start(options).await?;
    crate::outln!("awaits beats on http://{}: {}", deadman.addr(), awaited.join("; "));
    interrupted.await;
    deadman.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

/// Is one service of a platform, until it is asked to end or nobody holds its standard input any more.
pub async fn run_service(name: &str, config: &Path) -> Result<ExitCode> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let text = std::fs::read_to_string(config).with_context(|| format!("read {}", config.display()))?;
    let config: trading_platform::Config =
        serde_json::from_str(&text).with_context(|| format!("parse {}", config.display()))?;
    let name = trading_platform::ServiceName::parse(name)
        .with_context(|| format!("no service is called {name:?}"))?;
    let (trigger, shutdown) = Shutdown::new();
    let interrupted = crate::demo::interrupted()?;
    tokio::spawn(async move {
        tokio::select! {
            () = interrupted => {}
            () = parent_gone() => {}
        }
        trigger.fire();
    });
    trading_platform::run_service(name, config, Clock::wall(), Net::Tcp, shutdown).await?;
    Ok(ExitCode::SUCCESS)
}

/// Resolves when standard input is closed: whoever started us has ended, however it ended.
async fn parent_gone() {
    let mut stdin = tokio::io::stdin();
    let mut byte = [0];
    while matches!(tokio::io::AsyncReadExt::read(&mut stdin, &mut byte).await, Ok(1..)) {}
}

/// Checks rule files and shows how long each alert may take at worst.
pub fn check_rules(
    files: Vec<PathBuf>,
    config: Option<PathBuf>,
    alertmanager: Option<PathBuf>,
) -> Result<ExitCode> {
    if files.is_empty() && config.is_none() {
        bail!("name rule files, or a configuration with --config");
    }
    let known = config.is_some();
    let options = Options {
        config_file: config,
        alertmanager_file: alertmanager,
        rule_files: files,
        ..Options::default()
    };
    let loaded = Loaded::read(&options)?;
    let mut rules = 0;
    for (file, spec, budget) in loaded.budgets() {
        rules += 1;
        if !known {
            continue;
        }
        let text = tradewatch_alert::duration::format;
        crate::outln!(
            "{file}:{}: {} within {}: scrape {} + records {} + evaluation {} + for {}{} + grouping {}, to {:?}",
            spec.line,
            spec.name,
            text(budget.worst()),
            text(budget.scrape),
            text(budget.records),
            text(budget.evaluation),
            text(budget.hold),
            budget.session.as_ref().map(|mic| format!(" of the session of {mic}")).unwrap_or_default(),
            text(budget.grouping.max(budget.joining)),
            budget.receiver,
        );
    }
    for line in loaded.warnings().iter().map(String::as_str).chain(loaded.errors()) {
        eprintln!("{line}");
    }
    let errors = loaded.errors().len();
    crate::outln!("{rules} alerting rules, {errors} errors, {} warnings", loaded.warnings().len());
    Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs rule unit tests, each against the rule files beside it.
pub fn test_rules(files: &[PathBuf]) -> Result<ExitCode> {
    let mut all_passed = true;
    for file in files {
        let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        let folder = file.parent().unwrap_or(Path::new("."));
        let mut load = |pattern: &str| rule_files(&folder.join(pattern));
        let report = tradewatch_alert::unittest::run(&file.to_string_lossy(), &text, &mut load);
        crate::out!("{report}");
        all_passed &= report.passed();
    }
    Ok(if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The files that a pattern names, with their texts.
fn rule_files(pattern: &Path) -> Result<Vec<(String, String)>, String> {
    let pattern = pattern.to_string_lossy();
    let paths = glob::glob(&pattern).map_err(|error| format!("{pattern}: {error}"))?;
    paths
        .map(|path| {
            let path = path.map_err(|error| error.to_string())?;
            let text =
                std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            Ok((path.display().to_string(), text))
        })
        .collect()
}

/// Trains the shipped models anew.
pub fn train(out: &Path) -> Result<ExitCode> {
    for (version, seed) in trading_platform::model::TRAINED {
        let model = trading_platform::model::train(version, seed);
        let path = out.join(format!("alpha_baseline-v{version}.model"));
        std::fs::write(&path, model.to_file()).with_context(|| format!("write {}", path.display()))?;
        let holdout = &model.holdout;
        crate::outln!(
            "{}: right on {:.1} % of {} rows held back, where always guessing the commoner side is right on {:.1} %",
            path.display(),
            holdout.score_ratio * 100.0,
            holdout.rows,
            holdout.base_ratio * 100.0
        );
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_monitor_may_be_named_without_a_scheme() {
        assert_eq!(base_url("127.0.0.1:9090"), "http://127.0.0.1:9090");
        assert_eq!(base_url("http://127.0.0.1:9090/"), "http://127.0.0.1:9090");
    }

    #[test]
    fn the_breaker_is_told_in_words() {
        let now = jiff::Timestamp::from_second(1_000).unwrap();
        let line = |answer| breaker_line(&answer, now);
        assert!(
            line(json!({"tripped": true, "news": true, "saved": true}))
                .starts_with("circuit breaker tripped")
        );
        assert!(line(json!({"tripped": true, "news": false, "saved": true})).ends_with("already"));
        let reset = line(
            json!({"reset": true, "saved": false, "breaker": {"state": "quiet", "until": 1_008_400_000_000_i64}}),
        );
        assert!(reset.contains("quiet period of 8 s; the gateway could not write"), "{reset}");
    }
}
