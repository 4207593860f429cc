//! Every check explained: what it finds, why that is wrong, what to write instead.

use crate::finding::Severity;

/// A page.
#[derive(Copy, Clone, Debug)]
pub struct Page {
    /// `TW003`.
    pub id: &'static str,
    /// In a few words.
    pub title: &'static str,
    /// The most severe form.
    pub severity: Severity,
    /// What it finds and why that matters.
    pub text: &'static str,
    /// What is found.
    pub bad: &'static str,
    /// What to write instead.
    pub good: &'static str,
}

const fn page(
    id: &'static str,
    severity: Severity,
    title: &'static str,
    text: &'static str,
    bad: &'static str,
    good: &'static str,
) -> Page {
    Page { id, title, severity, text, bad, good }
}

use Severity::{Error, Info, Warning};

/// All pages, by id.
pub const PAGES: &[Page] = &[
    page(
        "TW001",
        Error,
        "The file cannot be read",
        "YAML, JSON, PromQL, a template or a setting is broken. Prometheus refuses the whole file, Alertmanager keeps the old one, Grafana shows an empty panel.",
        "expr: histogram_quantile(0.95, rate(x_bucket[5m])) by (symbol)",
        "expr: histogram_quantile(0.95, sum by (le, symbol) (rate(x_bucket[5m])))",
    ),
    page(
        "TW002",
        Warning,
        "A setting works otherwise than it looks",
        "Something is read but has another effect, or none: two equal rules in a group, a setting that is not supported.",
        "two rules of the same name and labels in one group",
        "one of them, or another label on each",
    ),
    page(
        "TW003",
        Error,
        "A metric that nothing emits",
        "No target exposes a series of this name, and no rule records one. The alert can never fire, the panel has no data, and nobody notices. It is said only where every target that could expose the metric has been seen or described.",
        "execution_gateway_circuit_breaker_state == 1",
        "execution_gateway_circuit_breaker_status == 1",
    ),
    page(
        "TW004",
        Error,
        "A label that the metric does not have",
        "A matcher on a label that no series has selects nothing; grouping by one gives a single series without labels; group_left takes nothing from it.",
        "sum by (service_name) (rate(http_requests_total[5m]))",
        "sum by (job) (rate(http_requests_total[5m]))",
    ),
    page(
        "TW005",
        Error,
        "A label value that nothing emits",
        "The values of the label are known and this is none of them. Where values were only seen in one scrape it is a warning if another value is much like it, else information: the value may come with its first event.",
        "orders_total{status=\"accepted\"}",
        "orders_total{status=\"success\"}",
    ),
    page(
        "TW006",
        Error,
        "A function that does not fit the metric",
        "rate, irate and increase are for counters: on a gauge every fall is taken for a restart. delta and deriv are for gauges: on a counter a restart is taken for a change. histogram_quantile needs buckets, histogram_avg and its like need native histograms.",
        "rate(queue_depth[5m])",
        "deriv(queue_depth[5m])",
    ),
    page(
        "TW007",
        Error,
        "A raw histogram",
        "A classic histogram is exposed as _bucket, _sum and _count; its bare name has no series. Buckets without rate hold everything since the process started.",
        "data_freshness_seconds",
        "histogram_quantile(0.95, sum by (le) (rate(data_freshness_seconds_bucket[5m])))",
    ),
    page(
        "TW008",
        Error,
        "A quantile without le",
        "The buckets of a histogram are told apart by le. Where an aggregation drops it there is nothing to take a quantile of; a sum over all buckets counts each observation several times.",
        "histogram_quantile(0.95, sum by (job) (rate(x_bucket[5m])))",
        "histogram_quantile(0.95, sum by (job, le) (rate(x_bucket[5m])))",
    ),
    page(
        "TW009",
        Error,
        "A counter as it is",
        "A counter holds everything since its process started. Compared with a number, an alert fires once and for ever; divided by another one, the share hardly moves after a week; in a chart it only climbs. A figure that says so (\"since the start\") is information.",
        "errors_total > 100",
        "increase(errors_total[5m]) > 100",
    ),
    page(
        "TW010",
        Error,
        "An average of quantiles",
        "A quantile does not say how many observations are behind it, so quantiles can be neither averaged nor added.",
        "avg(histogram_quantile(0.95, rate(x_bucket[5m])))",
        "histogram_quantile(0.95, sum by (le) (rate(x_bucket[5m])))",
    ),
    page(
        "TW011",
        Error,
        "A sum before the rate",
        "When one of several processes restarts, the sum of their counters falls, and rate takes all that is left for new growth.",
        "rate(sum(orders_total)[5m:])",
        "sum(rate(orders_total[5m]))",
    ),
    page(
        "TW012",
        Error,
        "A ratio that divides each series by itself",
        "Without aggregation both sides keep their labels, so the rejected orders are divided by the rejected orders: always 1. The same holds for a difference, which is always 0.",
        "rate(orders_total{status=\"rejected\"}[5m]) / rate(orders_total[5m]) > 0.1",
        "sum(rate(orders_total{status=\"rejected\"}[5m])) / sum(rate(orders_total[5m])) > 0.1",
    ),
    page(
        "TW013",
        Error,
        "A join that can never match",
        "Series of both sides meet when all labels agree. A label that only one side has, or values that exclude each other, keep them apart for ever; several series where one is needed make the evaluation fail.",
        "rate(rejections_total[5m]) / rate(orders_total[5m])   # {reason} against {status}",
        "sum(rate(rejections_total[5m])) / sum(rate(orders_total[5m]))",
    ),
    page(
        "TW014",
        Error,
        "A threshold that can never be reached",
        "The value has a range: a quantile ends at the highest bucket, a ratio of a part at 1, a count begins at 1, a flag is 0 or 1. A threshold beyond it never comes true. The same for a ratio compared with percents, seconds with milliseconds, a point in time with an age.",
        "histogram_quantile(0.99, …) > 30   # buckets end at 10",
        "histogram_quantile(0.99, …) > 5",
    ),
    page(
        "TW015",
        Warning,
        "No bucket edge near the threshold",
        "Between two edges a quantile is guessed on a straight line. With edges at 1 and 2.5 an alert at 2 fires by chance.",
        "histogram_quantile(0.95, …) > 2   # edges 1, 2.5, 5",
        "an edge at 2, or > 2.5",
    ),
    page(
        "TW016",
        Error,
        "A rate per second compared with a count",
        "rate is in events per second: 3 over an hour are 10,800 events, and 0.05 is no 5 %. A rate and an increase in one expression do not go together either.",
        "rate(kill_switch_triggers_total[1h]) > 3",
        "increase(kill_switch_triggers_total[1h]) > 3",
    ),
    page(
        "TW017",
        Warning,
        "Silence that looks like health",
        "A comparison with 0 needs something to compare. Where the series do not exist yet, or are gone with their process, the alert is silent when it matters most.",
        "sum(rate(orders_total[5m])) == 0",
        "sum(rate(orders_total[5m])) == 0 or absent(orders_total)",
    ),
    page(
        "TW018",
        Error,
        "A condition that always holds",
        "The value cannot be otherwise: the alert fires whenever there is data.",
        "rate(errors_total[5m]) >= 0",
        "rate(errors_total[5m]) > 0",
    ),
    page(
        "TW019",
        Warning,
        "A window under four scrape intervals",
        "rate needs two samples in its window. With less than two intervals there is hardly ever an answer; with less than four a single late or lost scrape leaves a gap.",
        "rate(orders_total[30s])   # scraped each 15s",
        "rate(orders_total[1m])",
    ),
    page(
        "TW020",
        Warning,
        "for is shorter than one evaluation",
        "for is looked at when the rule is evaluated: a shorter one ends at the next evaluation, so the alert waits a whole interval although less was meant.",
        "for: 10s   # interval 1m",
        "for: 0s",
    ),
    page(
        "TW021",
        Warning,
        "A rule that fires whenever the market is shut",
        "Orders, fills, quotes and signals stop every night, weekend and holiday. A rule that waits for their end has to know the hours of its market.",
        "sum(rate(orders_total[5m])) == 0",
        "sum(rate(orders_total[5m])) == 0 and on() tradewatch_market_open{mic=\"XNYS\"} == 1",
    ),
    page(
        "TW022",
        Warning,
        "An alert without severity",
        "Nobody can route it, sort it, or know whether to get up for it.",
        "labels: {}",
        "labels: {severity: critical}",
    ),
    page(
        "TW023",
        Warning,
        "An alert without summary",
        "The summary is what is read on a phone: what is wrong, in one line.",
        "annotations: {}",
        "annotations: {summary: \"{{ $labels.instance }} does not answer\"}",
    ),
    page(
        "TW024",
        Warning,
        "An alert without runbook",
        "What to do first should not be found out at night. A link to a runbook that does not exist is found too, where the platform's runbooks are known.",
        "annotations: {summary: …}",
        "annotations: {summary: …, runbook_url: …}",
    ),
    page(
        "TW025",
        Error,
        "An alert without drill",
        "With --platform every alert needs a drill, which proves that it fires and clears.",
        "an alert that no drill names",
        "a drill for it",
    ),
    page(
        "TW026",
        Error,
        "A template label that does not exist",
        "A text or a legend names a label that the expression does not give: an aggregation dropped it, or the metric never had it.",
        "expr: sum(rate(x[5m])) > 1   # summary: {{ $labels.symbol }}",
        "expr: sum by (symbol) (rate(x[5m])) > 1",
    ),
    page(
        "TW027",
        Error,
        "A promise of five seconds that is not kept",
        "A rule with the label rts6: \"true\" promises notification within the five seconds of RTS 6, Article 16(5). Scrape interval, evaluation interval, for and group_wait add up to more.",
        "for: 1m with rts6: \"true\"",
        "for: 0s, a scrape each second, group_wait: 0s",
    ),
    page(
        "TW028",
        Warning,
        "Label sets above their budget",
        "Labels multiply, and each histogram multiplies them by its buckets. An id as a label makes a series for each thing there ever was.",
        "position_pnl_usd{position_id=…}",
        "position_pnl_usd{symbol=…}, with a budget",
    ),
    page(
        "TW029",
        Error,
        "Inverted thresholds or colours",
        "Green where it is bad, red where it is good: by the kind of the value (an age, a latency), by the alerts on the same metric, or by its name.",
        "time() - last_success_timestamp: red at 0, green from 300 s",
        "green at 0, red from 300 s",
    ),
    page(
        "TW030",
        Warning,
        "A panel without unit",
        "A number without a unit is guessed at.",
        "\"unit\" missing",
        "\"unit\": \"s\"",
    ),
    page(
        "TW031",
        Error,
        "A panel with the wrong unit",
        "The query gives seconds and the panel says milliseconds, or a ratio is shown as percent: wrong by a factor of 1000 or 100.",
        "seconds with the unit \"ms\"",
        "the unit \"s\"",
    ),
    page(
        "TW032",
        Error,
        "A target that cannot be reached",
        "Its name has no address, it does not answer, or it is no address at all. What it would expose is then not known, and nothing is said about it.",
        "targets: [\"http://gateway:8002/metrics\"]",
        "targets: [\"gateway:8002\"]",
    ),
    page(
        "TW033",
        Error,
        "A route that leads nowhere",
        "A route that no alert takes or that one before it hides, an inhibition that names no alert, a receiver that delivers to nobody or is never used.",
        "matchers: [severity=\"page\"]   # no rule sets it",
        "matchers: [severity=\"critical\"]",
    ),
    page(
        "TW034",
        Info,
        "A metric that no rule or panel uses",
        "It costs memory and nobody looks at it. Or a panel is missing.",
        "",
        "",
    ),
    page(
        "TW035",
        Error,
        "Rules that are never loaded, alerts that nobody gets",
        "rule_files names no file, a rule file is not listed, or there is no Alertmanager.",
        "rule_files: [alerts.yml]   # does not exist",
        "rule_files: [rules/*.yml]",
    ),
    page(
        "TW036",
        Warning,
        "Two alerts for one fault",
        "Both fire for the same series with the same severity and neither holds the other back.",
        "up == 0 beside up{job=\"backend\"} == 0",
        "one of them, or an inhibition",
    ),
    page(
        "TW037",
        Error,
        "An environment variable that is not expanded",
        "Alertmanager takes ${NAME} as text.",
        "url: ${WEBHOOK_URL}",
        "url_file: /etc/alertmanager/webhook_url",
    ),
    page(
        "TW038",
        Warning,
        "A variable that nothing uses",
        "Choosing a value there changes nothing.",
        "a variable collector in no query",
        "collector_name=~\"$collector\" in the queries",
    ),
    page(
        "TW039",
        Warning,
        "A suppression without check or reason",
        "What is kept on purpose says why; without that the suppression has no effect.",
        "# tradewatch:ignore TW021",
        "# tradewatch:ignore TW021 crypto trades around the clock",
    ),
    page(
        "TW040",
        Warning,
        "An alert for each idle series",
        "rate(x) == 0 without aggregation judges each label set alone: one symbol or one outcome that rests fires it. Where that is meant, the text names the label.",
        "rate(orders_total[15m]) == 0",
        "sum(rate(orders_total[15m])) == 0",
    ),
    page(
        "TW041",
        Info,
        "A name that does not say its unit",
        "Prometheus' naming rules: base units (seconds, bytes, ratio) at the end of the name, _total on counters and on nothing else. A catalogue keeps a name on purpose with legacy_name and a reason.",
        "http_server_duration_milliseconds",
        "http_server_duration_seconds",
    ),
    page(
        "TW042",
        Warning,
        "A text that says another time than for",
        "The summary says one minute, the rule waits two.",
        "for: 2m   # summary: down for more than 1 minute",
        "summary: down for more than 2 minutes",
    ),
    page(
        "TW043",
        Info,
        "The first event is missed",
        "A label set that appears with its first event begins at 1; rate and increase see growth from the second event on.",
        "rate(limit_breaches_total[5m]) > 0",
        "label sets set to 0 when the service starts",
    ),
];

/// The page of a check.
pub fn find(id: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.id.eq_ignore_ascii_case(id))
}

impl Page {
    /// As `tradewatch check --explain` prints it.
    pub fn text(&self) -> String {
        let mut out =
            format!("{}  {} ({})\n\n{}\n", self.id, self.title, self.severity.as_str(), wrapped(self.text));
        if !self.bad.is_empty() {
            out += &format!("\n  found    {}\n  instead  {}\n", self.bad, self.good);
        }
        out
    }
}

/// All pages as one document, `docs/checks.md`.
pub fn markdown() -> String {
    let mut out = "# What `tradewatch check` finds\n\nGenerated from `crates/tradewatch-check/src/pages.rs`. \
                   `tradewatch check --explain TW003` prints one page. Severities are those of the worst form.\n\n\
                   A finding is kept on purpose by a comment on its line or above its rule, route or key, always with a reason: \
                   `# tradewatch:ignore TW021 crypto trades around the clock`; for a whole file `# tradewatch:ignore-file TW034 …`. \
                   In a dashboard the same words stand in the description of the panel. A file given by `--ignore` has lines of the form \
                   `TW030 dashboards/old.json \"Order rate\" # reason`.\n"
        .to_owned();
    for page in PAGES {
        out += &format!(
            "\n## {} {}\n\n{}. {}\n",
            page.id,
            page.title,
            capital(page.severity.as_str()),
            page.text
        );
        if !page.bad.is_empty() {
            out += &format!("\n```\nfound    {}\ninstead  {}\n```\n", page.bad, page.good);
        }
    }
    out
}

fn capital(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}

fn wrapped(text: &str) -> String {
    const WIDTH: usize = 96;
    let mut out = String::new();
    let mut column = 0;
    for word in text.split(' ') {
        if column + word.chars().count() > WIDTH {
            out.push('\n');
            column = 0;
        } else if column > 0 {
            out.push(' ');
        }
        out.push_str(word);
        column += word.chars().count() + 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_in_order() {
        assert!(PAGES.windows(2).all(|pair| pair[0].id < pair[1].id));
        assert_eq!(find("tw012").map(|page| page.id), Some("TW012"));
        assert!(find("TW999").is_none());
    }

    /// `UPDATE_EXPECT=1 cargo test -p tradewatch-check` writes the page anew.
    #[test]
    fn the_page_in_the_tree_is_this_one() {
        expect_test::expect_file!["../../../docs/checks.md"].assert_eq(&markdown());
    }
}
