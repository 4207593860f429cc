//! The monitor's own dashboard: is the watcher itself well?

use super::{Dashboard, Panel};

fn of(metric: &str, more: &str) -> String {
    let comma = if more.is_empty() { "" } else { "," };
    format!("{metric}{{platform=\"tradewatch\"{comma}{more}}}")
}

/// Scrapes, store, rules, notifications and requests of tradewatch itself.
pub fn monitor() -> Dashboard {
    Dashboard::new("monitor", "Monitor", "How tradewatch itself is doing.", &["tradewatch"])
        .row("Scraping")
        .panel(
            Panel::stat("Targets up", "Targets whose last scrape succeeded. Constant while all are up.")
                .query("sum(up)", "")
                .decimals(0),
        )
        .panel(
            Panel::stat("Targets", "Targets that the configuration names. Constant until it changes.")
                .query("count(up)", "")
                .decimals(0),
        )
        .panel(
            Panel::stat("Samples per second", "Samples taken in from all targets.")
                .query(format!("sum(rate({}[1m]))", of("tradewatch_tsdb_samples_appended_total", "")), "")
                .decimals(0),
        )
        .panel(
            Panel::stat("Series", "Series in memory.")
                .query(of("tradewatch_tsdb_head_series", ""), "")
                .decimals(0),
        )
        .panel(
            Panel::stat("Log on disk", "Bytes of write-ahead log.")
                .query(of("tradewatch_tsdb_wal_bytes", ""), "")
                .unit("bytes"),
        )
        .panel(
            Panel::stat("Log corruptions", "Places in the log that could not be read at start. Constant while the disk is sound.")
                .query(of("tradewatch_tsdb_wal_corruptions_total", ""), "")
                .decimals(0)
                .threshold(1.0, "red"),
        )
        .panel(Panel::timeseries("Scrape duration", "Seconds that each scrape took.").query("scrape_duration_seconds", "{{job}}").unit("s"))
        .panel(
            Panel::timeseries("Samples per scrape", "Samples that each target gave. Constant while no series comes or goes.")
                .query("scrape_samples_scraped", "{{job}}"),
        )
        .row("Rules and notifications")
        .panel(
            Panel::timeseries("Rule evaluations", "Rules evaluated per second, and failures.")
                .query(format!("sum(rate({}[1m]))", of("tradewatch_rule_evaluations_total", "")), "evaluations")
                .query(format!("sum(rate({}[1m]))", of("tradewatch_rule_evaluation_failures_total", "")), "failures")
                .unit("ops"),
        )
        .panel(
            Panel::timeseries("Rule group duration", "Seconds of the last evaluation of each group.")
                .query(of("tradewatch_rule_group_last_duration_seconds", ""), "{{rule_group}}")
                .unit("s"),
        )
        .panel(
            Panel::timeseries("Alerts", "Alerts by state. Constant while nothing changes.")
                .query("count by (alertstate) (ALERTS) or vector(0)", "{{alertstate}}")
                .steps(),
        )
        .panel(
            Panel::timeseries("Notifications", "Notifications sent since the start, by receiver and outcome. Constant while nothing is sent.")
                .query(format!("sum by (receiver, status) (increase({}[1m])) or vector(0)", of("tradewatch_notifications_total", "")), "{{receiver}} {{status}}"),
        )
        .row("Requests")
        .panel(
            Panel::timeseries("HTTP requests", "Requests that the monitor answered, per second, by status.")
                .query(format!("sum by (code) (rate({}[1m]))", of("tradewatch_http_requests_total", "")), "{{code}}")
                .unit("reqps"),
        )
}
