//! `routes test` and `notify test`: where an alert would go, and whether it would arrive.

use crate::commands::{base_url, client};
use crate::{NotifyTestArgs, RoutesTestArgs};
use anyhow::{Context, Result, bail};
use serde_json::Value as Json;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tradewatch_alert::duration;
use tradewatch_alert::route::{Config, Route};
use tradewatch_server::Options;
use tradewatch_server::notify::{Routes, parse_routes, try_receiver};
use tradewatch_tsdb::{Labels, MatchOp, Matcher, Timestamp};

/// How far ahead changes of mutes are looked for.
const HORIZON: Duration = Duration::from_secs(14 * 24 * 3600);
/// The file that is read when nothing names one.
const CONFIG: &str = "alertmanager.yml";

/// `tradewatch routes test`.
pub async fn test_routes(args: RoutesTestArgs) -> Result<ExitCode> {
    let labels = parse_labels(&args.labels)?;
    let now = match &args.time {
        None => jiff::Timestamp::now(),
        Some(text) => text.parse().with_context(|| format!("{text:?} is not a time; write RFC 3339"))?,
    };
    let now = Timestamp::from_millis(now.as_millisecond());
    let options = Options::default();
    let monitor = args.url.as_deref().map(base_url);
    let (path, text) = match (&args.config, &monitor) {
        (None, Some(monitor)) => {
            let status = get(monitor, "/api/v2/status").await?;
            let text = status["config"]["original"].as_str().unwrap_or_default().to_owned();
            (format!("{monitor}/api/v2/status"), text)
        }
        (file, _) => {
            let file = file.as_deref().unwrap_or(Path::new(CONFIG));
            let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
            (file.display().to_string(), text)
        }
    };
    let config = match text.trim().is_empty() && monitor.is_some() {
        // A monitor without a file tells everything to its terminal.
        true => Config::terminal(),
        false => parse_routes(&path, &text, &options.calendar)?.0,
    };
    crate::out!("{}", describe(&config, &labels, now));
    if let Some(monitor) = &monitor {
        crate::out!("{}", held_back(&config, &labels, monitor, now).await?);
    }
    let told: Vec<String> =
        config.matching(&labels).into_iter().map(|at| config.routes[at].receiver.clone()).collect();
    if !args.verify.is_empty() && told != args.verify {
        bail!("expected {}, but {} would be told", args.verify.join(","), told.join(","));
    }
    Ok(ExitCode::SUCCESS)
}

fn parse_labels(texts: &[String]) -> Result<Labels> {
    let mut pairs = Vec::new();
    for text in texts {
        let (name, value) = text
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .with_context(|| format!("{text:?} is not a label; write name=value"))?;
        let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        pairs.push((name.to_owned(), quoted.unwrap_or(value).to_owned()));
    }
    Ok(Labels::from_pairs(pairs))
}

/// The way through the tree, then who is told and when.
fn describe(config: &Config, labels: &Labels, now: Timestamp) -> String {
    let mut out = format!("{labels}\n\n");
    for step in config.explain(labels) {
        let route = &config.routes[step.route];
        let indent = "  ".repeat(step.depth);
        let mark = if step.failed.is_some() { '✘' } else { '✔' };
        let checked: Vec<String> = step
            .checked
            .iter()
            .map(|(text, holds)| if *holds { text.clone() } else { format!("{text} does not hold") })
            .collect();
        let what = match (step.depth, checked.is_empty()) {
            (0, _) => "everything".to_owned(),
            (_, true) => "no matchers".to_owned(),
            _ => checked.join(", "),
        };
        let mut end = String::new();
        if step.taken {
            end += &format!("  → {}", step.receiver);
        }
        if step.failed.is_none() && route.continues {
            end += "  and on to the next (continue)";
        }
        let _ = writeln!(out, "  {indent}{mark} {what}  (line {}){end}", route.line);
    }
    out.push('\n');
    for at in config.matching(labels) {
        out += &receiver(config, &config.routes[at], labels, now);
    }
    out
}

fn receiver(config: &Config, route: &Route, labels: &Labels, now: Timestamp) -> String {
    let time = duration::format;
    let mut out = format!("{}\n", route.receiver);
    let integrations = config.receiver(&route.receiver).map_or(&[][..], |receiver| &receiver.integrations);
    let through: Vec<String> = integrations
        .iter()
        .map(|one| {
            let ends = if one.send_resolved { "" } else { " (firing only)" };
            let broken = one.broken.as_ref().map(|why| format!(" — BROKEN: {why}")).unwrap_or_default();
            let not = if one.is_delivered() { "" } else { " — not delivered by this version" };
            format!("{}{ends}{broken}{not}", one.kind)
        })
        .collect();
    let through =
        if through.is_empty() { "nothing: the receiver is empty".to_owned() } else { through.join(", ") };
    let _ = writeln!(out, "  through   {through}");
    let _ = writeln!(out, "  group     {}", config.group_key(route, labels));
    let _ = writeln!(
        out,
        "  timing    first after {}, changes every {}, repeats every {}",
        time(route.group_wait),
        time(route.group_interval),
        time(route.repeat_interval)
    );
    let next = config.next_change(route, now, HORIZON);
    let muted = config.muted_by(route, now);
    let is_timed = !route.mute_intervals.is_empty() || !route.active_intervals.is_empty();
    let line = match (muted, next) {
        _ if !is_timed => "speaks at all times".to_owned(),
        (Some(name), Some((at, _))) => format!("MUTED now by {name:?}, until {at}"),
        (Some(name), None) => format!("MUTED now by {name:?}, for at least {}", time(HORIZON)),
        (None, Some((at, name))) => {
            format!("speaks now; muted from {at} by {:?}", name.unwrap_or_default())
        }
        (None, None) => format!("speaks now, for at least {}", time(HORIZON)),
    };
    let _ = writeln!(out, "  mutes     {line}");
    out
}

/// What a running monitor would hold it back by.
async fn held_back(config: &Config, labels: &Labels, monitor: &str, now: Timestamp) -> Result<String> {
    let mut out = format!("\nat {monitor}\n");
    let before = out.len();
    for silence in get(monitor, "/api/v2/silences").await?.as_array().into_iter().flatten() {
        if silence["status"]["state"] == "active" && hides(silence, labels) {
            let text = |key: &str| silence[key].as_str().unwrap_or("").to_owned();
            let (by, why, until) = (text("createdBy"), text("comment"), text("endsAt"));
            let _ = writeln!(out, "  SILENCED by {} ({by}: {why:?}), until {until}", text("id"));
        }
    }
    let alerts = get(monitor, "/api/v2/alerts?active=true&silenced=true&inhibited=true").await?;
    let firing: Vec<Labels> =
        alerts.as_array().into_iter().flatten().map(|alert| as_labels(&alert["labels"])).collect();
    if let Some((line, sources)) = config.held_back_by(labels, &firing) {
        let sources: Vec<String> = sources.into_iter().map(ToString::to_string).collect();
        let _ =
            writeln!(out, "  INHIBITED by the rule in line {line}, since {} fires", sources.join(" and "));
    }
    if out.len() == before {
        let _ = writeln!(out, "  no silence and no inhibition holds it back at {now}");
    }
    Ok(out)
}

fn hides(silence: &Json, labels: &Labels) -> bool {
    let matchers = silence["matchers"].as_array();
    matchers.is_some_and(|all| {
        all.iter().all(|one| {
            let op = match (one["isRegex"] == true, one["isEqual"] != false) {
                (false, true) => MatchOp::Equal,
                (false, false) => MatchOp::NotEqual,
                (true, true) => MatchOp::Regex,
                (true, false) => MatchOp::NotRegex,
            };
            let text = |key: &str| one[key].as_str().unwrap_or("");
            let matcher = Matcher::new(text("name"), op, text("value"));
            matcher.is_ok_and(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or("")))
        })
    })
}

fn as_labels(json: &Json) -> Labels {
    let pairs = json.as_object().into_iter().flatten();
    Labels::from_pairs(pairs.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))))
}

async fn get(monitor: &str, path: &str) -> Result<Json> {
    let answer = client()
        .get(&format!("{monitor}{path}"))
        .await
        .with_context(|| format!("no monitor answers at {monitor}; name it with --url"))?;
    if !answer.is_success() {
        bail!("{monitor}{path} answers: {}", answer.text());
    }
    Ok(answer.json()?)
}

/// `tradewatch notify test`.
pub async fn test_receiver(args: NotifyTestArgs) -> Result<ExitCode> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let mut options = Options { alertmanager_file: Some(args.config.clone()), ..Options::default() };
    options.web.external_url = Some(args.external_url);
    let routes = Routes::read(&options)?;
    let trials = try_receiver(&routes, &args.receiver, &options).await?;
    if trials.is_empty() {
        bail!("receiver {:?} has nothing to deliver through; add for example webhook_configs", args.receiver);
    }
    let mut all_taken = true;
    for trial in trials {
        let (mark, said) = match &trial.outcome {
            Ok(said) => ('✔', said),
            Err(why) => ('✘', why),
        };
        all_taken &= trial.outcome.is_ok();
        let place = format!("{}:{}", args.config.display(), trial.line);
        crate::outln!("{mark} {:<10} {:<9} {place}  {said}", trial.kind, trial.status);
    }
    Ok(if all_taken { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn the_way_of_an_alert_is_shown() {
        let text = r#"
route:
  receiver: desk
  group_by: [alertname]
  routes:
  - {matchers: [severity="critical"], receiver: page, continue: true, group_wait: 0s}
  - {matchers: [team="a", mic!="XNYS"], receiver: nobody}
  - matchers: [mic="XNYS"]
    active_time_intervals: [session]
    routes: [{matchers: [symbol=~"A.*"], receiver: chat, mute_time_intervals: [lunch]}]
receivers:
- name: desk
- {name: page, slack_configs: [{channel: x}], webhook_configs: [{url: 'http://h'}]}
- {name: nobody}
- {name: chat, discord_configs: [{webhook_url: 'http://h'}], opsgenie_configs: [{api_key: k}]}
time_intervals:
- {name: session, time_intervals: [{trading_calendar: XNYS}]}
- {name: lunch, time_intervals: [{times: [{start_time: '17:00', end_time: '18:00'}]}]}
"#;
        let options = Options::default();
        let (config, _) = parse_routes("a.yml", text, &options.calendar).unwrap();
        let labels = parse_labels(
            &["alertname=Lost", "severity=critical", "mic=XNYS", "symbol=AAPL"].map(str::to_owned),
        );
        let at =
            |text: &str| Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond());
        let labels = labels.unwrap();
        let now = at("2026-11-20T16:00:00Z");
        expect![[r#"
            {alertname="Lost", mic="XNYS", severity="critical", symbol="AAPL"}

              ✔ everything  (line 3)
                ✔ severity="critical"  (line 6)  → page  and on to the next (continue)
                ✘ mic!="XNYS" does not hold, team="a" does not hold  (line 7)
                ✔ mic="XNYS"  (line 8)
                  ✔ symbol=~"A.*"  (line 10)  → chat

            page
              through   webhook, slack (firing only) — BROKEN: one of api_url or api_url_file must be configured
              group     {}/{severity="critical"}:{alertname="Lost"}
              timing    first after 0s, changes every 5m, repeats every 4h
              mutes     speaks at all times
            chat
              through   discord, opsgenie (firing only) — not delivered by this version
              group     {}/{mic="XNYS"}/{symbol=~"A.*"}:{alertname="Lost"}
              timing    first after 30s, changes every 5m, repeats every 4h
              mutes     speaks now; muted from 2026-11-20T17:00:00.000Z by "lunch"
        "#]].assert_eq(&describe(&config, &labels, now));
        let other = parse_labels(&["alertname=Lost".to_owned(), "mic=XNYS".to_owned()]).unwrap();
        // The Friday after Thanksgiving ends early.
        expect![[r#"
            {alertname="Lost", mic="XNYS"}

              ✔ everything  (line 3)
                ✘ severity="critical" does not hold  (line 6)
                ✘ mic!="XNYS" does not hold, team="a" does not hold  (line 7)
                ✔ mic="XNYS"  (line 8)  → desk
                  ✘ symbol=~"A.*" does not hold  (line 10)

            desk
              through   nothing: the receiver is empty
              group     {}/{mic="XNYS"}:{alertname="Lost"}
              timing    first after 30s, changes every 5m, repeats every 4h
              mutes     speaks now; muted from 2026-11-27T18:00:00.000Z by "session"
        "#]]
        .assert_eq(&describe(&config, &other, at("2026-11-27T17:00:00Z")));
        expect![[r#"
            {alertname="Lost", mic="XNYS"}

              ✔ everything  (line 3)
                ✘ severity="critical" does not hold  (line 6)
                ✘ mic!="XNYS" does not hold, team="a" does not hold  (line 7)
                ✔ mic="XNYS"  (line 8)  → desk
                  ✘ symbol=~"A.*" does not hold  (line 10)

            desk
              through   nothing: the receiver is empty
              group     {}/{mic="XNYS"}:{alertname="Lost"}
              timing    first after 30s, changes every 5m, repeats every 4h
              mutes     MUTED now by "session", until 2026-11-30T14:30:00.000Z
        "#]]
        .assert_eq(&describe(&config, &other, at("2026-11-27T19:00:00Z")));
        assert!(parse_labels(&["=x".to_owned()]).is_err() && parse_labels(&["x".to_owned()]).is_err());
    }

    #[test]
    fn a_silence_hides_by_its_matchers() {
        let labels = Labels::from_pairs([("alertname", "A"), ("x", "y")]);
        let silence = |json: Json| hides(&json, &labels);
        let one = |name: &str, value: &str, regex: bool, equal: bool| serde_json::json!({"name": name, "value": value, "isRegex": regex, "isEqual": equal});
        assert!(silence(
            serde_json::json!({"matchers": [one("alertname", "A", false, true), one("x", "[xy]", true, true)]})
        ));
        assert!(!silence(serde_json::json!({"matchers": [one("alertname", "A", false, false)]})));
        assert!(!silence(serde_json::json!({})));
    }
}
