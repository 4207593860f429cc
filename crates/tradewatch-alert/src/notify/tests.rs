//! Scripts in, deliveries out.
//!
//! A script line is `<time> <command> …`; between the lines the notifier is woken when it asks to be.
//! Deliveries arrive at once unless the script says otherwise.

use std::fmt::Write as _;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use tradewatch_tsdb::Labels;

use super::*;
use crate::route::matchers;

const HEAD: &str = "
receivers: [{name: desk, webhook_configs: [{url: 'http://desk'}]}, {name: quiet, webhook_configs: [{url: 'http://quiet', send_resolved: false}]}]
";

/// 2026-11-20 14:00:00 UTC, a Friday.
const START: Timestamp = Timestamp::from_millis(1_795_183_200_000);

fn config(text: &str) -> Arc<Config> {
    let (config, warnings) = Config::parse("alertmanager.yml", &format!("{text}{HEAD}")).expect("valid");
    assert!(warnings.is_empty(), "{warnings:?}");
    Arc::new(config)
}

fn at(text: &str) -> Timestamp {
    START + crate::duration::parse(text).expect("a time")
}

fn labels(text: &str) -> Labels {
    let matchers = matchers::parse(text).expect("labels");
    Labels::from_pairs(matchers.iter().map(|m| (m.name(), m.value())))
}

enum Answer {
    Deliver,
    Fail(Failure),
    Hang,
}

struct Script {
    notifier: Notifier,
    now: Timestamp,
    answer: Answer,
    under_way: Vec<u64>,
    written: Vec<Change>,
    every: Duration,
    out: String,
}

impl Script {
    fn new(config: Arc<Config>) -> Script {
        let notifier = Notifier::new(config, Options { seed: 7, ..Options::default() });
        let (answer, under_way, written) = (Answer::Deliver, Vec::new(), Vec::new());
        Script { notifier, now: START, answer, under_way, written, every: Duration::ZERO, out: String::new() }
    }

    fn say(&mut self, text: &str) {
        let since = crate::duration::format(self.now.since(START));
        writeln!(self.out, "{since:<9} {text}").expect("to a string");
    }

    fn poll(&mut self) {
        for delivery in self.notifier.poll(self.now) {
            self.written.extend(self.notifier.take_changes());
            let mut alerts: Vec<String> = Vec::new();
            for alert in &delivery.message.alerts {
                let name = &alert.labels["alertname"];
                let symbol = alert.labels.get("symbol").map(|s| format!(" {s}")).unwrap_or_default();
                alerts.push(format!("{}{name}{symbol}", if alert.is_firing() { "" } else { "-" }));
            }
            let attempt =
                if delivery.attempt > 1 { format!(" attempt {}", delivery.attempt) } else { String::new() };
            let line = format!(
                "{}: {} [{}]{attempt}",
                delivery.receiver,
                delivery.message.status,
                alerts.join(", ")
            );
            match &self.answer {
                Answer::Deliver => {
                    self.say(&line);
                    self.notifier.delivered(self.now, delivery.id);
                }
                Answer::Fail(failure) => {
                    let failure = failure.clone();
                    self.say(&format!("{line} fails"));
                    self.notifier.failed(self.now, delivery.id, &failure);
                }
                Answer::Hang => {
                    self.say(&format!("{line} hangs"));
                    self.under_way.push(delivery.id);
                }
            }
        }
        self.written.extend(self.notifier.take_changes());
    }

    /// Polls as often as the notifier asks for, up to `until`.
    fn run(&mut self, until: Timestamp) {
        let mut rounds = 0;
        self.poll();
        while let Some(next) = self.notifier.next_wakeup().filter(|next| *next <= until) {
            self.now = next.max(self.now);
            self.poll();
            rounds += 1;
            assert!(rounds < 100_000, "the notifier asks to be woken without end, at {}", self.now);
        }
        self.now = until;
        self.poll();
    }

    fn line(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let (time, command) = (words.next().expect("a time"), words.next().expect("a command"));
        let rest: Vec<&str> = words.collect();
        let time = at(time);
        if time > self.now {
            self.run(time - Duration::from_millis(1));
            self.now = time;
        }
        match command {
            "fire" | "resolve" => {
                let alerts: Vec<Alert> = rest
                    .iter()
                    .map(|text| Alert {
                        labels: labels(text),
                        annotations: BTreeMap::new(),
                        starts_at: time,
                        ends_at: if command == "fire" { time + Duration::from_secs(86_400) } else { time },
                        generator_url: String::new(),
                        value: None,
                        every: self.every,
                    })
                    .collect();
                self.notifier.update(time, &alerts);
            }
            "every" => self.every = crate::duration::parse(rest[0]).expect("a duration"),
            "silence" => {
                let silence = Silence {
                    id: String::new(),
                    matchers: vec![SilenceMatcher {
                        name: "alertname".to_owned(),
                        value: rest[0].to_owned(),
                        is_regex: false,
                        is_equal: true,
                    }],
                    starts_at: time,
                    ends_at: time + crate::duration::parse(rest[1]).expect("a duration"),
                    created_by: "me".to_owned(),
                    comment: String::new(),
                    updated_at: time,
                    status: SilenceStatus::default(),
                };
                let id = self.notifier.set_silence(silence, time).expect("valid");
                self.say(&format!("silence {id}"));
            }
            "unsilence" => {
                let id = self.notifier.silences(time)[0].id.clone();
                self.notifier.expire_silence(&id, time).expect("there");
            }
            "ack" => {
                let fingerprint = Fingerprint::of(&labels(rest[0]));
                self.notifier.acknowledge(fingerprint, "me", "seen", time).expect("it fires");
            }
            "deliver" => {
                self.answer = Answer::Deliver;
                for id in std::mem::take(&mut self.under_way) {
                    self.notifier.delivered(time, id);
                }
            }
            "fail" => {
                let retry_after = rest.get(1).map(|text| crate::duration::parse(text).expect("a duration"));
                let retriable = rest[0] == "later";
                self.answer = Answer::Fail(Failure { retriable, reason: "no".to_owned(), retry_after });
            }
            "hang" => self.answer = Answer::Hang,
            "restart" => {
                let config = self.notifier.config().clone();
                let options = self.notifier.options.clone();
                // Through JSON, as on disk.
                let text = serde_json::to_string(&self.written).expect("serialises");
                let changes: Vec<Change> = serde_json::from_str(&text).expect("reads back");
                self.notifier = Notifier::restore(config, options, changes, time);
                self.under_way.clear();
                self.say("restarted");
            }
            "end" => {}
            other => panic!("unknown command {other}"),
        }
        self.poll();
    }
}

fn check(text: &str, script: &str, expected: Expect) {
    let mut run = Script::new(config(text));
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        run.line(line);
    }
    for record in run.notifier.records().filter(|r| r.outcome != Outcome::Delivered) {
        let Record { outcome, reason, attempts, .. } = record;
        writeln!(run.out, "ledger: {outcome:?} after {attempts}: {reason}").expect("to a string");
    }
    for queued in run.notifier.queued() {
        writeln!(run.out, "queued: attempts {} {:?}", queued.attempts, queued.last_error)
            .expect("to a string");
    }
    expected.assert_eq(&run.out);
}

const PLAIN: &str = "
route: {receiver: desk, group_by: [alertname], group_wait: 10s, group_interval: 1m, repeat_interval: 1h}";

#[test]
fn waits_groups_and_repeats() {
    check(
        PLAIN,
        "0s fire {alertname=A,symbol=AAPL}
         5s fire {alertname=A,symbol=MSFT}
         20s fire {alertname=A,symbol=TSLA}
         25s fire {alertname=B}
         90s resolve {alertname=A,symbol=TSLA}
         3h end",
        expect![[r#"
            10s       desk: firing [A AAPL, A MSFT]
            35s       desk: firing [B]
            1m10s     desk: firing [A AAPL, A MSFT, A TSLA]
            2m10s     desk: firing [A AAPL, A MSFT, -A TSLA]
            1h35s     desk: firing [B]
            1h2m10s   desk: firing [A AAPL, A MSFT]
            2h35s     desk: firing [B]
            2h2m10s   desk: firing [A AAPL, A MSFT]
        "#]],
    );
}

#[test]
fn a_group_that_is_all_resolved_says_so_at_once() {
    check(
        PLAIN,
        "0s fire {alertname=A}
         30s resolve {alertname=A}
         35s fire {alertname=A}
         1h end",
        expect![[r#"
            10s       desk: firing [A]
            30s       desk: resolved [-A]
            45s       desk: firing [A]
        "#]],
    );
}

#[test]
fn over_before_it_was_told_is_written_down() {
    check(
        PLAIN,
        "0s fire {alertname=A}
         5s resolve {alertname=A}
         1h end",
        expect![[r#"
            ledger: NeverSent after 0: resolved within group_wait
        "#]],
    );
}

#[test]
fn resolutions_are_told_only_where_asked_for() {
    check(
        "route: {receiver: quiet, group_by: ['...'], group_wait: 0s, group_interval: 1m, repeat_interval: 1h}",
        "0s fire {alertname=A} {alertname=B}
         10s resolve {alertname=A}
         20s fire {alertname=A}
         5m end",
        expect![[r#"
            0s        quiet: firing [A]
            0s        quiet: firing [B]
            20s       quiet: firing [A]
        "#]],
    );
}

#[test]
fn routes_continue_and_nest() {
    check(
        "
route:
  receiver: desk
  group_wait: 0s
  routes:
    - matchers: [severity=critical]
      receiver: quiet
      continue: true
    - match_re: {team: 'a|b'}
      routes: [{match: {team: a}, receiver: quiet, group_by: [alertname]}]
    - match: {team: c}
      receiver: quiet",
        "0s fire {alertname=A,severity=critical,team=a}
         10s fire {alertname=B,team=b}
         20s fire {alertname=C,team=c}
         30s fire {alertname=D}
         40s end",
        expect![[r#"
            0s        quiet: firing [A]
            0s        quiet: firing [A]
            10s       desk: firing [B]
            20s       quiet: firing [C]
            30s       desk: firing [D]
        "#]],
    );
}

#[test]
fn a_silence_that_ends_tells_what_still_fires() {
    check(
        PLAIN,
        "0s fire {alertname=A}
         5s silence B 10m
         20s silence A 10m
         30s fire {alertname=B}
         5m resolve {alertname=B}
         20m silence A 1h
         25m resolve {alertname=A}
         26m fire {alertname=A}
         27m unsilence
         28m end",
        expect![[r#"
            5s        silence 38004700-5c67-4096-b5a7-c6fbdbc42070
            10s       desk: firing [A]
            20s       silence 05362eb0-f85a-441a-a364-f36b01e0963f
            10m20s    desk: firing [A]
            20m       silence c09a6da3-ccb0-46ea-8742-08a12643f276
            25m       desk: resolved [-A]
            27m       desk: firing [A]
            ledger: NeverSent after 0: resolved while it was silenced
        "#]],
    );
}

const INHIBITED: &str = r#"
inhibit_rules:
  - source_matchers: [rts6=true]
    target_matchers: ['severity=~"critical|warning"']
    equal: [service]
route: {receiver: desk, group_by: [alertname], group_wait: 0s, group_interval: 5s, repeat_interval: 1h}"#;

#[test]
fn a_fast_twin_inhibits_the_slow_one() {
    check(
        INHIBITED,
        "0s every 1s
         0s fire {alertname=Lost,severity=critical,rts6=true,service=gateway}
         60s fire {alertname=Down,severity=critical,service=gateway}
         70s fire {alertname=Down,severity=critical,service=signal}
         90s resolve {alertname=Lost,severity=critical,rts6=true,service=gateway}
         90s500ms resolve {alertname=Down,severity=critical,service=gateway}
         100s resolve {alertname=Down,severity=critical,service=signal}
         5m end",
        expect![[r#"
            0s        desk: firing [Lost]
            1m10s     desk: firing [Down]
            1m30s     desk: resolved [-Lost]
            1m40s     desk: resolved [-Down]
        "#]],
    );
}

#[test]
fn what_outlives_its_inhibitor_is_told() {
    check(
        INHIBITED,
        "0s every 1s
         0s fire {alertname=Lost,rts6=true,service=gateway} {alertname=Slow,severity=warning,service=gateway}
         30s resolve {alertname=Lost,rts6=true,service=gateway}
         5m end",
        expect![[r#"
            0s        desk: firing [Lost]
            30s       desk: resolved [-Lost]
            35s       desk: firing [Slow]
        "#]],
    );
}

#[test]
fn time_intervals_mute_and_let_go() {
    check(
        "
time_intervals:
  - {name: closed, time_intervals: [{times: [{start_time: '14:05', end_time: '14:20'}]}]}
  - {name: open, time_intervals: [{times: [{start_time: '14:10', end_time: '24:00'}]}]}
route:
  receiver: desk
  group_by: [alertname]
  group_wait: 0s
  group_interval: 1m
  repeat_interval: 4h
  routes:
    - {matchers: [kind=muted], mute_time_intervals: [closed]}
    - {matchers: [kind=active], active_time_intervals: [open]}",
        "0s fire {alertname=Early,kind=muted} {alertname=Over,kind=muted} {alertname=Active,kind=active}
         6m fire {alertname=Late,kind=muted} {alertname=Short,kind=muted}
         7m resolve {alertname=Short,kind=muted} {alertname=Over,kind=muted}
         30m end",
        expect![[r#"
            0s        desk: firing [Early]
            0s        desk: firing [Over]
            10m       desk: firing [Active]
            20m       desk: firing [Early]
            20m       desk: firing [Late]
            20m       desk: resolved [-Over]
            ledger: NeverSent after 0: resolved while its route was muted
        "#]],
    );
}

#[test]
fn failures_back_off_and_fold() {
    check(
        PLAIN,
        "0s fire {alertname=A,symbol=AAPL}
         1s fail later
         2m fire {alertname=A,symbol=MSFT}
         5m deliver
         10m end",
        expect![[r#"
            10s       desk: firing [A AAPL] fails
            10s947ms  desk: firing [A AAPL] attempt 2 fails
            12s523ms  desk: firing [A AAPL] attempt 3 fails
            15s881ms  desk: firing [A AAPL] attempt 4 fails
            21s77ms   desk: firing [A AAPL] attempt 5 fails
            35s237ms  desk: firing [A AAPL] attempt 6 fails
            59s141ms  desk: firing [A AAPL] attempt 7 fails
            1m32s231ms desk: firing [A AAPL] attempt 8 fails
            2m5s171ms desk: firing [A AAPL] attempt 9 fails
            3m2s861ms desk: firing [A AAPL, A MSFT] fails
            3m55s661ms desk: firing [A AAPL, A MSFT] attempt 2 fails
            4m40s751ms desk: firing [A AAPL, A MSFT] attempt 3 fails
            5m40s631ms desk: firing [A AAPL, A MSFT] attempt 4
            ledger: Folded after 9: a newer notification of the group took its place
        "#]],
    );
}

#[test]
fn retry_after_is_honoured_and_a_refusal_is_final() {
    check(
        PLAIN,
        "0s fire {alertname=A}
         1s fail later 45s
         50s fail never
         3m deliver
         4m resolve {alertname=A}
         5m end",
        expect![[r#"
            10s       desk: firing [A] fails
            55s       desk: firing [A] attempt 2 fails
            4m        desk: resolved [-A]
            ledger: Refused after 2: no
        "#]],
    );
}

#[test]
fn resolved_while_the_receiver_was_away() {
    check(
        PLAIN,
        "0s fire {alertname=A}
         1s fail later
         30s resolve {alertname=A}
         60s deliver
         10m end",
        expect![[r#"
            10s       desk: firing [A] fails
            10s947ms  desk: firing [A] attempt 2 fails
            12s523ms  desk: firing [A] attempt 3 fails
            15s881ms  desk: firing [A] attempt 4 fails
            21s77ms   desk: firing [A] attempt 5 fails
            35s237ms  desk: resolved [-A] fails
            1m3s397ms desk: resolved [-A] attempt 2
            ledger: Folded after 5: a newer notification of the group took its place
        "#]],
    );
}

#[test]
fn a_restart_neither_loses_nor_repeats_silently() {
    check(
        PLAIN,
        "0s fire {alertname=A} {alertname=B}
         5s restart
         11s hang
         12s fire {alertname=C}
         25s restart
         30s deliver
         40s restart
         50s resolve {alertname=A} {alertname=C}
         2m end",
        expect![[r#"
            5s        restarted
            10s       desk: firing [A]
            10s       desk: firing [B]
            22s       desk: firing [C] hangs
            25s       restarted
            25s       desk: firing [C] attempt 2 hangs
            40s       restarted
            50s       desk: resolved [-A]
            50s       desk: resolved [-C]
        "#]],
    );
}

#[test]
fn an_acknowledged_alert_is_not_repeated() {
    check(
        PLAIN,
        "0s fire {alertname=A} {alertname=B}
         30s ack {alertname=A}
         2h5m fire {alertname=A,symbol=MSFT}
         2h6m resolve {alertname=A}
         2h10m end",
        expect![[r#"
            10s       desk: firing [A]
            10s       desk: firing [B]
            1h10s     desk: firing [B]
            2h10s     desk: firing [B]
            2h5m10s   desk: firing [A, A MSFT]
            2h6m10s   desk: firing [A MSFT, -A]
        "#]],
    );
}

#[test]
fn what_cannot_be_delivered_stays_visible() {
    let text = "route: {receiver: chat, group_wait: 0s}\nreceivers: [{name: chat, opsgenie_configs: [{api_key: k}]}]";
    let (config, warnings) = Config::parse("a.yml", text).expect("valid");
    assert_eq!(warnings.len(), 1);
    let mut run = Script::new(Arc::new(config));
    run.line("0s fire {alertname=A}");
    run.line("1m resolve {alertname=A}");
    let reasons: Vec<&str> = run.notifier.records().map(|r| r.reason.as_str()).collect();
    assert_eq!((run.out.as_str(), reasons), ("", vec!["this version does not deliver to its receiver"]));
}

#[test]
fn an_alert_that_nobody_sends_again_ends() {
    let mut run = Script::new(config(PLAIN));
    let alert = Alert {
        labels: labels("{alertname=A}"),
        annotations: BTreeMap::new(),
        starts_at: START,
        ends_at: at("4m"),
        generator_url: String::new(),
        value: None,
        every: Duration::ZERO,
    };
    run.notifier.update(START, std::slice::from_ref(&alert));
    run.run(at("1h"));
    expect![[r#"
        10s       desk: firing [A]
        4m        desk: resolved [-A]
    "#]]
    .assert_eq(&run.out);
}

#[test]
fn a_storm_goes_out_worst_first_and_folds() {
    let text = "route: {receiver: desk, group_by: ['...'], group_wait: 0s, group_interval: 1s}";
    let options = Options { groups_max: 50, in_flight_max: 4, ..Options::default() };
    let mut notifier = Notifier::new(config(text), options);
    let mut alerts: Vec<Alert> = (0..10_000)
        .map(|i| Alert {
            labels: labels(&format!("{{alertname=Minor,symbol=S{i},severity=warning}}")),
            annotations: BTreeMap::new(),
            starts_at: START,
            ends_at: at("1h"),
            generator_url: String::new(),
            value: None,
            every: Duration::ZERO,
        })
        .collect();
    let severe = labels("{alertname=Grave,severity=critical}");
    alerts.insert(20, Alert { labels: severe, ..alerts[0].clone() });
    assert_eq!(notifier.update(START, &alerts), 0);
    let first = notifier.poll(START);
    assert_eq!(first.len(), 4, "no more than allowed at once");
    assert_eq!(first[0].message.alerts[0].labels["alertname"], "Grave");
    let mut told = 0;
    let mut messages = 0;
    let mut open = first;
    while !open.is_empty() {
        for delivery in open {
            told += delivery.message.alerts.len();
            messages += 1;
            notifier.delivered(START, delivery.id);
        }
        open = notifier.poll(START);
    }
    assert_eq!((told, messages), (10_001, 51), "50 groups and one for the rest");
}

fn limited(rate: &str) -> Arc<Config> {
    let text = format!(
        "route: {{receiver: chat, group_by: [alertname], group_wait: 0s, group_interval: 1m}}\nreceivers: [{{name: chat, {rate}}}]"
    );
    Arc::new(Config::parse("a.yml", &text).expect("valid").0)
}

fn script(config: Arc<Config>, lines: &str, expected: Expect) {
    let mut run = Script::new(config);
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        run.line(line);
    }
    for Record { key, outcome, reason, attempts, alert_count, .. } in run.notifier.records() {
        writeln!(run.out, "ledger: {key} {alert_count} {outcome:?} after {attempts}: {reason}")
            .expect("a string");
    }
    writeln!(run.out, "queued: {}", run.notifier.queued().len()).expect("a string");
    expected.assert_eq(&run.out);
}

#[test]
fn what_a_rate_limit_holds_up_shares_one_message() {
    let config = limited("webhook_configs: [{url: 'http://h', rate_limit: 2/10s}]");
    script(
        config.clone(),
        "0s fire {alertname=A} {alertname=B,severity=critical} {alertname=C} {alertname=D,severity=info}
         1s fire {alertname=E}
         2s fire {alertname=F}
         3s resolve {alertname=A}
         1m end",
        expect![[r#"
            0s        chat: firing [B]
            0s        chat: firing [A, C, D]
            5s        chat: firing [E, F, -A]
            ledger: 2d9834e17935c8b5-1+2 1 Delivered after 1: in one message with 2 more, since the rate limit held them up
            ledger: 044c3cd7f43c661c-2 1 Delivered after 1: 
            ledger: 2d9834e17935c8b5-1+2 1 Delivered after 1: in one message with 2 more, since the rate limit held them up
            ledger: 2d9834e17935c8b5-1+2 1 Delivered after 1: in one message with 2 more, since the rate limit held them up
            ledger: 6ffc2a8d9322857f-5+2 1 Delivered after 1: in one message with 2 more, since the rate limit held them up
            ledger: 6ffc2a8d9322857f-5+2 1 Delivered after 1: in one message with 2 more, since the rate limit held them up
            ledger: 6ffc2a8d9322857f-5+2 1 Delivered after 1: in one message with 2 more, since the rate limit held them up
            queued: 0
        "#]],
    );
    // The whole message goes again under its key; a newer one of a group in it ends it.
    script(
        config.clone(),
        "0s fire {alertname=A} {alertname=B} {alertname=C}
         10s fail later
         11s fire {alertname=D} {alertname=E} {alertname=F}
         12s restart
         13s resolve {alertname=F}
         20s deliver
         1m end",
        expect![[r#"
            0s        chat: firing [A]
            0s        chat: firing [B, C]
            11s       chat: firing [D] fails
            11s       chat: firing [E, F] fails
            12s       restarted
            12s       chat: firing [D] attempt 2 fails
            12s       chat: firing [E, F] attempt 2 fails
            17s       chat: firing [D, E, -F] fails
            22s       chat: firing [D, E, -F] attempt 2
            ledger: 63cbe1e459320dd7-1 1 Delivered after 1: 
            ledger: 9629283b8be4e299-2+1 1 Delivered after 1: in one message with 1 more, since the rate limit held them up
            ledger: 9629283b8be4e299-2+1 1 Delivered after 1: in one message with 1 more, since the rate limit held them up
            ledger: d8ac1aa00cc1471f-4+2 1 Delivered after 4: in one message with 2 more, since the rate limit held them up
            ledger: d8ac1aa00cc1471f-4+2 1 Delivered after 4: in one message with 2 more, since the rate limit held them up
            ledger: 9f89c966c15c2c7f-5+1 1 Folded after 2: a newer notification of the group took its place
            ledger: d8ac1aa00cc1471f-4+2 1 Delivered after 2: in one message with 2 more, since the rate limit held them up
            queued: 0
        "#]],
    );
    script(
        config,
        "0s hang
         0s fire {alertname=A} {alertname=B} {alertname=C}
         1s resolve {alertname=C}
         2s restart
         3s deliver
         1m end",
        expect![[r#"
            0s        chat: firing [A] hangs
            0s        chat: firing [B, C] hangs
            2s        restarted
            2s        chat: firing [A] attempt 2 hangs
            2s        chat: firing [B, C] attempt 2 hangs
            7s        chat: resolved [-C]
            ledger: 63cbe1e459320dd7-1 1 Delivered after 2: 
            ledger: 9629283b8be4e299-2+1 1 Delivered after 2: in one message with 1 more, since the rate limit held them up
            ledger: 9629283b8be4e299-2+1 1 Delivered after 2: in one message with 1 more, since the rate limit held them up
            ledger: 953aeb70673e29cb-4 1 Delivered after 1: 
            queued: 0
        "#]],
    );
}

#[test]
fn an_incident_of_pagerduty_is_one_group_and_waits_for_its_turn() {
    script(
        limited("pagerduty_configs: [{routing_key: k, rate_limit: 1/10s}]"),
        "0s fire {alertname=A,severity=info} {alertname=B} {alertname=C,severity=critical}
         1m end",
        expect![[r#"
            0s        chat: firing [C]
            10s       chat: firing [B]
            20s       chat: firing [A]
            ledger: 63cbe1e459320dd7-1 1 Delivered after 1: 
            ledger: 044c3cd7f43c661c-2 1 Delivered after 1: 
            ledger: e6984080bab12a02-3 1 Delivered after 1: 
            queued: 0
        "#]],
    );
}

#[test]
fn a_storm_under_a_rate_limit_is_a_few_messages_and_the_grave_one_is_first() {
    let config = limited("webhook_configs: [{url: 'http://h', rate_limit: 5/10s}]");
    let mut notifier = Notifier::new(config, Options::default());
    let alert = |i: usize, severity: &str| Alert {
        labels: Labels::from_pairs([("alertname", format!("N{i}").as_str()), ("severity", severity)]),
        annotations: BTreeMap::new(),
        starts_at: START,
        ends_at: at("1h"),
        generator_url: String::new(),
        value: None,
        every: Duration::ZERO,
    };
    let mut alerts: Vec<Alert> = (0..10_000).map(|i| alert(i, "warning")).collect();
    alerts.push(alert(10_000, "critical"));
    notifier.update(START, &alerts);
    let (mut now, mut messages, mut told) = (START, 0, 0);
    loop {
        for delivery in notifier.poll(now) {
            if messages == 0 {
                assert_eq!(delivery.message.alerts[0].labels["alertname"], "N10000");
            }
            messages += 1;
            told += delivery.message.alerts.len() + delivery.message.truncated_alerts;
            notifier.delivered(now, delivery.id);
        }
        if notifier.queued().is_empty() {
            break;
        }
        now = notifier.next_wakeup().expect("something waits").max(now);
    }
    assert_eq!(told, 10_001);
    assert!(messages < 20, "{messages} messages");
}

#[test]
fn a_list_of_ungrouped_alerts_visits_each_alert_and_each_group_once() {
    let text = "route: {receiver: desk, group_by: ['...'], group_wait: 0s, group_interval: 1s}";
    let mut notifier = Notifier::new(config(text), Options::default());
    let alert = |i: usize| Alert {
        labels: Labels::from_pairs([("alertname", "Minor"), ("n", &i.to_string())]),
        annotations: BTreeMap::new(),
        starts_at: START,
        ends_at: at("1h"),
        generator_url: String::new(),
        value: None,
        every: Duration::ZERO,
    };
    let alerts: Vec<Alert> = (0..500).map(alert).collect();
    assert_eq!(notifier.update(START, &alerts), 0);
    for (told, delivery) in notifier.poll(START).into_iter().take(3).enumerate() {
        notifier.delivered(at(&format!("{}s", told + 1)), delivery.id);
    }
    state::work::ROWS.set(0);
    let views = notifier.alerts(at("5s"));
    assert_eq!(state::work::ROWS.get(), 500 + 500, "alerts and groups");
    let mut told: Vec<Timestamp> = views.iter().filter_map(|view| view.last_notified).collect();
    told.sort();
    assert_eq!(told, [at("1s"), at("2s"), at("3s")]);
    for view in views {
        let one = notifier.alert(view.fingerprint, at("5s")).expect("listed");
        assert_eq!(one.last_notified, view.last_notified, "the list and the single alert agree");
    }
}

#[test]
fn ten_thousand_groups_do_not_hold_up_the_grave_one() {
    let text = "route: {receiver: desk, group_by: ['...'], group_wait: 0s, group_interval: 1s}";
    let mut notifier = Notifier::new(config(text), Options { alerts_max: 10_000, ..Options::default() });
    let alert = |name: &str, severity: &str, i: usize| Alert {
        labels: Labels::from_pairs([("alertname", name), ("severity", severity), ("n", &i.to_string())]),
        annotations: BTreeMap::new(),
        starts_at: START,
        ends_at: at("1h"),
        generator_url: String::new(),
        value: None,
        every: Duration::ZERO,
    };
    let mut alerts: Vec<Alert> = (0..9_999).map(|i| alert("Minor", "warning", i)).collect();
    alerts.push(alert("Grave", "critical", 0));
    assert_eq!(notifier.update(START, &alerts), 0);
    assert_eq!(notifier.update(START, &[alert("Minor", "warning", 20_000)]), 1, "one too many");
    assert_eq!(notifier.poll(START)[0].message.alerts[0].labels["alertname"], "Grave");
    assert_eq!((notifier.queued().len(), notifier.refused()), (10_000, 1));
}

#[test]
fn what_is_critical_finds_room_in_any_storm() {
    let text = "route: {receiver: desk, group_by: ['...'], group_wait: 0s, group_interval: 5m}";
    let bounds = Options { alerts_max: 1_000, groups_max: 100, in_flight_max: 4, ..Options::default() };
    let mut notifier = Notifier::new(config(text), bounds);
    let alert = |name: &str, severity: &str, i: usize| Alert {
        labels: Labels::from_pairs([("alertname", name), ("severity", severity), ("n", &i.to_string())]),
        annotations: BTreeMap::new(),
        starts_at: START,
        ends_at: at("1h"),
        generator_url: String::new(),
        value: None,
        every: Duration::ZERO,
    };
    let storm: Vec<Alert> = (0..1_500).map(|i| alert("Minor", "warning", i)).collect();
    assert_eq!(notifier.update(START, &storm), 500);
    // Every place is taken by an answer that does not come.
    let slow = notifier.poll(START);
    assert_eq!(slow.len(), 4);
    assert!(notifier.poll(START).is_empty());
    let grave: Vec<Alert> = (0..3).map(|i| alert("Grave", "critical", i)).collect();
    assert_eq!(notifier.update(at("1s"), &grave), 0);
    let sent: Vec<String> = notifier
        .poll(at("1s"))
        .iter()
        .map(|delivery| delivery.message.common_labels["alertname"].clone())
        .collect();
    assert_eq!(sent, ["Grave", "Grave"], "two beyond the usual number, each a group of its own");
    assert!(notifier.next_wakeup().is_some_and(|at| at > notifier.last_poll), "it does not spin");
}

#[test]
fn silences_are_checked_and_kept() {
    let mut notifier = Notifier::new(config(PLAIN), Options { seed: 1, ..Options::default() });
    let text = r#"{"matchers":[{"name":"alertname","value":"A","isRegex":false}],"startsAt":"2026-11-20T14:00:00Z",
        "endsAt":"2026-11-20T15:00:00.500Z","createdBy":"me","comment":"why"}"#;
    let silence: Silence = serde_json::from_str(text).expect("Alertmanager's form");
    let id = notifier.set_silence(silence.clone(), START).expect("valid");
    let shown = serde_json::to_string_pretty(&notifier.silence(&id, at("1m"))).expect("serialises");
    expect![[r#"
        {
          "id": "0ab185bb-b69a-4d35-a8d4-364de9aee53c",
          "matchers": [
            {
              "name": "alertname",
              "value": "A",
              "isRegex": false,
              "isEqual": true
            }
          ],
          "startsAt": "2026-11-20T14:00:00.000Z",
          "endsAt": "2026-11-20T15:00:00.500Z",
          "createdBy": "me",
          "comment": "why",
          "updatedAt": "2026-11-20T14:00:00.000Z",
          "status": {
            "state": "active"
          }
        }"#]]
    .assert_eq(&shown);
    let longer = Silence { id: id.clone(), ends_at: at("2h"), ..silence.clone() };
    assert_eq!(notifier.set_silence(longer, at("2m")).expect("only longer"), id);
    let mut other = Silence { id: id.clone(), ..silence.clone() };
    other.matchers[0].value = "B".to_owned();
    let next = notifier.set_silence(other, at("3m")).expect("a new one");
    assert_ne!(next, id);
    assert_eq!(notifier.silence(&id, at("3m")).expect("kept").status.state, "expired");
    let wrong = |change: &dyn Fn(&mut Silence)| {
        let mut silence = silence.clone();
        change(&mut silence);
        notifier.clone().set_silence(silence, at("4m")).expect_err("wrong").to_string()
    };
    let mut out = String::new();
    for message in [
        wrong(&|s| s.matchers.clear()),
        wrong(&|s| s.matchers[0].value.clear()),
        wrong(&|s| s.ends_at = s.starts_at),
        wrong(&|s| s.ends_at = at("1m")),
        wrong(&|s| (s.matchers[0].is_regex, s.matchers[0].value) = (true, "[".to_owned())),
        wrong(&|s| s.id = "nothere".to_owned()),
        notifier.expire_silence("nothere", at("4m")).expect_err("unknown").to_string(),
        notifier.expire_silence(&id, at("4m")).expect_err("over").to_string(),
    ] {
        writeln!(out, "{message}").expect("to a string");
    }
    expect![[r#"
        a silence needs 1 to 64 matchers; this has 0
        every matcher of the silence matches an empty label, so it would hide everything; name at least one label's value
        the silence ends before it starts; let endsAt be later than startsAt
        the silence ended at 2026-11-20T14:01:00.000Z; let endsAt lie in the future
        matcher of label "alertname": bad regular expression "[": missing closing ]: `[`
        silence "nothere" not found
        silence "nothere" not found
        silence "0ab185bb-b69a-4d35-a8d4-364de9aee53c" has already ended
    "#]].assert_eq(&out);
}

#[test]
fn the_message_is_alertmanagers() {
    let mut notifier =
        Notifier::new(config(PLAIN), Options { external_url: "http://m".to_owned(), ..Options::default() });
    let alert = Alert {
        labels: labels("{alertname=A,severity=critical,service=gateway}"),
        annotations: BTreeMap::from([("summary".to_owned(), "gone".to_owned())]),
        starts_at: START,
        ends_at: at("1h"),
        generator_url: "http://m/graph".to_owned(),
        value: None,
        every: Duration::ZERO,
    };
    notifier.update(START, std::slice::from_ref(&alert));
    let deliveries = notifier.poll(at("10s"));
    expect![[r#"
        {
          "receiver": "desk",
          "status": "firing",
          "alerts": [
            {
              "status": "firing",
              "labels": {
                "alertname": "A",
                "service": "gateway",
                "severity": "critical"
              },
              "annotations": {
                "summary": "gone"
              },
              "startsAt": "2026-11-20T14:00:00.000Z",
              "endsAt": "0001-01-01T00:00:00Z",
              "generatorURL": "http://m/graph",
              "fingerprint": "050fbeb6f7db488a"
            }
          ],
          "groupLabels": {
            "alertname": "A"
          },
          "commonLabels": {
            "alertname": "A",
            "service": "gateway",
            "severity": "critical"
          },
          "commonAnnotations": {
            "summary": "gone"
          },
          "externalURL": "http://m",
          "version": "4",
          "groupKey": "{}:{alertname=\"A\"}",
          "truncatedAlerts": 0
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&deliveries[0].message).expect("serialises"));
}

/// What may happen to the notifier, in random order.
#[derive(Clone, Debug)]
enum Event {
    Fire(u8),
    Resolve(u8),
    Silence(u8, u16),
    Answer(u8),
    Restart,
    Wait(u16),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..6u8).prop_map(Event::Fire),
        4 => (0..6u8).prop_map(Event::Resolve),
        1 => (0..6u8, 1..300u16).prop_map(|(alert, secs)| Event::Silence(alert, secs)),
        2 => (0..4u8).prop_map(Event::Answer),
        1 => Just(Event::Restart),
        6 => (1..200u16).prop_map(Event::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 3, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens: in the end each receiver knows what fires and nothing else, an end is told
    /// only after its beginning was (or may have been), and a repeated key says that it repeats.
    #[test]
    fn the_receiver_knows_the_truth_in_the_end(
        events in proptest::collection::vec(event(), 1..60),
        rate in prop_oneof![Just(""), Just(", rate_limit: 1/20s"), Just(", rate_limit: 2/1m")],
    ) {
        let text = "route: {receiver: desk, group_by: [group], group_wait: 5s, group_interval: 30s, repeat_interval: 1h}";
        let head = HEAD.replacen("'}]", &format!("'{rate}}}]"), 1);
        let (config, _) = Config::parse("a.yml", &format!("{text}{head}")).expect("valid");
        let config = Arc::new(config);
        let options = Options { seed: 3, ..Options::default() };
        let mut notifier = Notifier::new(config.clone(), options.clone());
        let mut now = START;
        let mut fires = [None; 6];
        let mut known: BTreeMap<String, bool> = BTreeMap::new();
        let mut keys: BTreeMap<String, u32> = BTreeMap::new();
        let mut written: Vec<Change> = Vec::new();
        let mut answer = 0u8;
        let alert = |i: u8, since: Timestamp, end: Timestamp| Alert {
            labels: Labels::from_pairs([("alertname", format!("A{i}")), ("group", format!("{}", i / 2))]),
            annotations: BTreeMap::new(),
            starts_at: since,
            ends_at: end,
            generator_url: String::new(),
            value: None,
            every: Duration::ZERO,
        };
        let mut all = events;
        // Then the world calms down, and the receiver answers.
        all.extend([Event::Answer(0), Event::Wait(3600), Event::Wait(3600)]);
        for event in all {
            let mut until = now;
            match event {
                Event::Fire(i) => {
                    let since = *fires[usize::from(i)].get_or_insert(now);
                    notifier.update(now, &[alert(i, since, now + Duration::from_secs(1_000_000))]);
                }
                Event::Resolve(i) => {
                    if let Some(since) = fires[usize::from(i)].take() {
                        notifier.update(now, &[alert(i, since, now)]);
                    }
                }
                Event::Silence(i, secs) => {
                    let silence = Silence {
                        id: String::new(),
                        matchers: vec![SilenceMatcher { name: "alertname".into(), value: format!("A{i}"), is_regex: false, is_equal: true }],
                        starts_at: now,
                        ends_at: now + Duration::from_secs(secs.into()),
                        created_by: String::new(),
                        comment: String::new(),
                        updated_at: now,
                        status: SilenceStatus::default(),
                    };
                    notifier.set_silence(silence, now).expect("valid");
                }
                Event::Answer(how) => answer = how,
                Event::Restart => notifier = Notifier::restore(config.clone(), options.clone(), written.clone(), now),
                Event::Wait(secs) => until = now + Duration::from_secs(secs.into()),
            }
            let mut rounds = 0;
            loop {
                let deliveries = notifier.poll(now);
                written.extend(notifier.take_changes());
                for delivery in deliveries {
                    let before = keys.insert(delivery.key.clone(), delivery.attempt).unwrap_or(0);
                    // One that was written down and killed before it left is counted too.
                    prop_assert!(delivery.attempt > before, "attempts of a key count up");
                    let arrives = answer != 1;
                    if arrives {
                        for told in &delivery.message.alerts {
                            let name = told.labels["alertname"].clone();
                            known.insert(name, told.is_firing());
                        }
                    }
                    match answer {
                        0 => notifier.delivered(now, delivery.id),
                        // 1: lost on the way; 2: arrived, and the answer was lost.
                        1 | 2 => notifier.failed(now, delivery.id, &Failure { retriable: true, ..Failure::default() }),
                        // Arrived; killed before the answer was written down.
                        _ => {
                            notifier = Notifier::restore(config.clone(), options.clone(), written.clone(), now);
                            answer = 0;
                            break;
                        }
                    }
                }
                written.extend(notifier.take_changes());
                match notifier.next_wakeup() {
                    Some(next) if next <= until => now = now.max(next),
                    _ => break,
                }
                rounds += 1;
                prop_assert!(rounds < 20_000, "no progress at {now}");
            }
            now = until.max(now);
        }
        for (i, since) in fires.iter().enumerate() {
            let knows = known.get(&format!("A{i}")).copied().unwrap_or(false);
            prop_assert_eq!(knows, since.is_some(), "A{} at {}", i, now);
        }
        prop_assert!(notifier.queued().is_empty(), "{:?}", notifier.queued());
    }
}
