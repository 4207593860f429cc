//! Runs of the platform on virtual time, as expositions.

use std::time::Duration;
use tradewatch_platforms::trading_platform::{ServiceName, sim};

/// The labels that the shipped configuration gives to a service's target.
pub fn target_labels(service: ServiceName) -> [(&'static str, String); 6] {
    let (underscored, tier, component) = match service {
        ServiceName::ExecutionGateway => ("execution_gateway", "critical", "trading"),
        ServiceName::SignalService => ("signal_service", "important", "ml"),
        ServiceName::Orchestrator => ("orchestrator", "important", "coordination"),
        ServiceName::MarketDataService => ("market_data_service", "critical", "data"),
        other => panic!("{other} is not monitored"),
    };
    [
        ("job", service.as_str().to_owned()),
        ("instance", format!("127.0.0.1:{}", 8000 + service.port_offset())),
        ("platform", "trading-platform".to_owned()),
        ("service", underscored.to_owned()),
        ("tier", tier.to_owned()),
        ("component", component.to_owned()),
    ]
}

/// One exposition of all services over a run, each sample stamped by `stamp(out, text, labels, at_ms)`.
///
/// The gateway is killed for a minute in the middle, so that there is a gap, a counter reset and an `up` of 0.
pub fn body(length: Duration, start_ms: i64, stamp: fn(&mut String, &str, &str, i64)) -> String {
    let (mut out, mut text) = (String::new(), Vec::new());
    let (killed, started) = (length.as_secs() / 2, length.as_secs() / 2 + 60);
    sim::simulate(&sim::Options::new(11), length, |second| {
        let elapsed = second.elapsed.as_secs();
        if elapsed == killed {
            second.platform.kill(ServiceName::ExecutionGateway);
        }
        if elapsed == started {
            second.platform.start_service(ServiceName::ExecutionGateway);
        }
        let at_ms = start_ms + elapsed as i64 * 1000;
        for service in ServiceName::MONITORED {
            let labels: Vec<String> =
                target_labels(service).iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
            let labels = labels.join(",");
            let up = second.platform.is_up(service);
            stamp(&mut out, &format!("up {}\n", u8::from(up)), &labels, at_ms);
            if up {
                text.clear();
                second.encode(service, &mut text);
                stamp(&mut out, std::str::from_utf8(&text).expect("expositions are text"), &labels, at_ms);
            }
        }
        for mic in ["XNYS", "CRYPTO"] {
            stamp(
                &mut out,
                &format!("tradewatch_market_open{{mic=\"{mic}\"}} 1\n"),
                "job=\"tradewatch\"",
                at_ms,
            );
        }
    })
    .expect("the platform runs on virtual time");
    out
}
