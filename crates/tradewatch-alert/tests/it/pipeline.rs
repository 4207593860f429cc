//! From samples to deliveries: rules and notifier together, as the server wires them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use expect_test::expect;
use proptest::prelude::*;
use tradewatch_alert::notify::{Change, Failure, Notifier, Options};
use tradewatch_alert::route::Config;
use tradewatch_alert::text::{Context, phone};
use tradewatch_tsdb::Timestamp;

use crate::world::{World, at};

const RULES: &str = "
groups:
- name: health
  interval: 1s
  rules:
  - alert: GatewayLost
    expr: up{job=\"gateway\"} == 0
    labels: {severity: critical, rts6: 'true', service: gateway}
    annotations:
      summary: trading disabled
      description: '{{ $labels.job }} ({{ $labels.instance }}) does not answer.'
      runbook_url: '{{ $externalURL }}/runbooks/GatewayLost'
      dashboard_url: '{{ $externalURL }}/dashboards/health'
  - alert: GatewayDown
    expr: up{job=\"gateway\"} == 0
    for: 60s
    labels: {severity: critical, service: gateway}
";

const ROUTES: &str = "
route:
  receiver: desk
  group_by: [alertname, service]
  group_wait: 0s
  group_interval: 1s
  repeat_interval: 1h
inhibit_rules:
- source_matchers: [alertname=GatewayLost]
  target_matchers: [alertname=GatewayDown]
  equal: [service]
receivers: [{name: desk, webhook_configs: [{url: 'http://desk'}]}]
";

struct Pipeline {
    world: World,
    config: Arc<Config>,
    notifier: Notifier,
    written: Vec<Change>,
    /// What the receiver heard of each alert, in order.
    heard: BTreeMap<String, Vec<&'static str>>,
    texts: Vec<String>,
}

impl Pipeline {
    fn new() -> Pipeline {
        let (config, warnings) = Config::parse("alertmanager.yml", ROUTES).expect("valid");
        assert!(warnings.is_empty());
        let config = Arc::new(config);
        let notifier = Notifier::new(config.clone(), Options::default());
        let (written, heard, texts) = (Vec::new(), BTreeMap::new(), Vec::new());
        Pipeline { world: World::new(RULES), config, notifier, written, heard, texts }
    }

    /// One scrape, one evaluation, and what follows. `answers` says whether the receiver does.
    fn step(&mut self, now: Timestamp, series: &[&str], answers: bool) {
        self.world.scrape(now, series);
        self.evaluate(now, answers);
    }

    fn evaluate(&mut self, now: Timestamp, answers: bool) {
        for evaluation in self.world.evaluate(now) {
            self.notifier.update(now, &evaluation.alerts);
        }
        loop {
            let deliveries = self.notifier.poll(now);
            self.written.extend(self.notifier.take_changes());
            if deliveries.is_empty() {
                break;
            }
            for delivery in deliveries {
                if !answers {
                    // It may have arrived all the same; the sender cannot know.
                    for alert in delivery.message.alerts.iter().filter(|alert| alert.is_firing()) {
                        let heard = self.heard.entry(alert.labels["alertname"].clone()).or_default();
                        if heard.last() != Some(&"firing?") {
                            heard.push("firing?");
                        }
                    }
                    let failure =
                        Failure { retriable: true, reason: "refused".to_owned(), retry_after: None };
                    self.notifier.failed(now, delivery.id, &failure);
                    continue;
                }
                self.texts.push(phone(&delivery.message, &Context { width: 100, ..Context::utc(now) }));
                for alert in &delivery.message.alerts {
                    let status = if alert.is_firing() { "firing" } else { "resolved" };
                    self.heard.entry(alert.labels["alertname"].clone()).or_default().push(status);
                }
                self.notifier.delivered(now, delivery.id);
            }
        }
        self.written.extend(self.notifier.take_changes());
    }

    fn restart(&mut self, now: Timestamp) {
        self.world.restart();
        let options = Options::default();
        self.notifier = Notifier::restore(self.config.clone(), options, self.written.clone(), now);
    }
}

const UP: &str = "up{job=gateway,instance=\"127.0.0.1:8002\"} 1";
const DOWN: &str = "up{job=gateway,instance=\"127.0.0.1:8002\"} 0";

#[test]
fn a_service_dies_and_comes_back() {
    let mut pipeline = Pipeline::new();
    for second in 0..200 {
        let series = if (20..120).contains(&second) { DOWN } else { UP };
        pipeline.step(at(&format!("{second}s")), &[series], true);
    }
    assert_eq!(pipeline.heard["GatewayLost"], ["firing", "resolved"]);
    assert!(!pipeline.heard.contains_key("GatewayDown"), "the fast twin holds the slow one back");
    expect![[r#"
        CRITICAL  GatewayLost — trading disabled                                                00:00:20 UTC
        gateway (127.0.0.1:8002) does not answer.
        Runbook → http://m/runbooks/GatewayLost   See it → http://m/dashboards/health
        Since 00:00:20 · value 0

        RESOLVED  GatewayLost — trading disabled                                                00:02:00 UTC
        gateway (127.0.0.1:8002) does not answer.
        Runbook → http://m/runbooks/GatewayLost   See it → http://m/dashboards/health
        From 00:00:20 to 00:02:00 (1 min 40 s)"#]]
    .assert_eq(&pipeline.texts.join("\n\n"));
}

#[test]
fn a_restart_in_the_middle_says_nothing_twice() {
    let mut pipeline = Pipeline::new();
    for second in 0..200 {
        let now = at(&format!("{second}s"));
        if [25, 60, 100, 119, 121].contains(&second) {
            pipeline.restart(now);
        }
        let series = if (20..120).contains(&second) { DOWN } else { UP };
        pipeline.step(now, &[series], true);
    }
    assert_eq!(pipeline.heard["GatewayLost"], ["firing", "resolved"], "{:?}", pipeline.heard);
    assert!(!pipeline.heard.contains_key("GatewayDown"));
}

#[test]
fn what_ended_while_the_monitor_was_down_is_told() {
    let mut pipeline = Pipeline::new();
    for second in 0..30 {
        pipeline.step(at(&format!("{second}s")), &[if second < 20 { UP } else { DOWN }], true);
    }
    pipeline.restart(at("90s"));
    for second in 90..120 {
        pipeline.step(at(&format!("{second}s")), &[UP], true);
    }
    assert_eq!(pipeline.heard["GatewayLost"], ["firing", "resolved"]);
}

#[test]
fn an_outage_of_the_monitor_is_no_all_clear() {
    let mut pipeline = Pipeline::new();
    for second in 0..70 {
        pipeline.step(at(&format!("{second}s")), &[if second < 20 { UP } else { DOWN }], true);
    }
    // Longer than an alert is valid without being sent again.
    pipeline.restart(at("20m"));
    for second in 1200..1300 {
        // The first scrape takes a while.
        match second {
            0..1205 => pipeline.evaluate(at(&format!("{second}s")), true),
            _ => pipeline.step(at(&format!("{second}s")), &[DOWN], true),
        }
    }
    assert_eq!(pipeline.heard["GatewayLost"], ["firing"], "{}", pipeline.world.out);
    for second in 1300..1310 {
        pipeline.step(at(&format!("{second}s")), &[UP], true);
    }
    assert_eq!(pipeline.heard["GatewayLost"], ["firing", "resolved"]);
    assert!(!pipeline.heard.contains_key("GatewayDown"), "{:?}", pipeline.heard);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 6, failure_persistence: None, ..ProptestConfig::default() })]

    /// Random outages, missed evaluations, restarts and an absent receiver: when the world calms
    /// down, the receiver knows that the service is up; it never hears the same twice in a row, and
    /// never of the slow twin while the fast one fires.
    #[test]
    fn every_beginning_has_its_end(events in proptest::collection::vec((0..12u8, 1..8u64), 1..60)) {
        let mut pipeline = Pipeline::new();
        let mut now = at("0s");
        let mut up = true;
        let mut answers = true;
        let calm = std::iter::repeat_n((11u8, 1u64), 150);
        for (kind, secs) in events.into_iter().chain([(9, 1), (10, 1)]).chain(calm) {
            match kind {
                0..3 => up = !up,
                3 => pipeline.restart(now),
                4 => answers = false,
                9 => answers = true,
                10 => up = true,
                _ => {}
            }
            if kind == 5 {
                // The scrape came to nothing; the rules are evaluated all the same.
                pipeline.evaluate(now, answers);
            } else {
                pipeline.step(now, &[if up { UP } else { DOWN }], answers);
            }
            now = now + Duration::from_secs(secs);
        }
        for (name, heard) in &pipeline.heard {
            prop_assert_eq!(heard.last(), Some(&"resolved"), "{}: {:?}\n{}", name, heard, pipeline.world.out);
            let doubled = heard.windows(2).any(|pair| pair[0] == pair[1]);
            prop_assert!(!doubled, "{}: {:?}\n{}", name, heard, pipeline.world.out);
        }
        prop_assert!(!pipeline.heard.contains_key("GatewayDown"), "{:?}\n{}", pipeline.heard, pipeline.world.out);
        prop_assert!(pipeline.notifier.queued().is_empty());
    }
}
