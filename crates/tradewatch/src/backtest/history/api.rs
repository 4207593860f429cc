//! Samples of the past from any server with Prometheus' HTTP API: raw, chunk by chunk.
//!
//! The API leaves staleness markers out. A series that pauses for more than twice its usual interval gets one where
//! its next sample should have been: that is where a scraper puts it when a scrape fails or a series is gone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use tokio::runtime::Handle;
use tradewatch_alert::replay::{History, Need};
use tradewatch_promql::quote;
use tradewatch_server::config::HttpClientConfig;
use tradewatch_server::net::HttpClient;
use tradewatch_server::net::client::{Ask, without_login};
use tradewatch_tsdb::{Db, Labels, MatchOp, Matcher, Options, STALE_NAN, Timestamp, is_stale};

/// The longest time that one question covers; shorter where the server finds it too much.
const PIECE_MAX: Duration = Duration::from_secs(6 * 3600);
const PIECE_MIN: Duration = Duration::from_secs(60);
/// Biggest answer.
const BODY_BYTES_MAX: u64 = 1 << 30;
const ANSWER_MAX: Duration = Duration::from_secs(300);
/// The longest time before an evaluation that is read where an expression leaves it open (`@`).
const OPEN_REACH: Duration = Duration::from_secs(24 * 3600);

/// A server that is asked for what the rules select.
pub struct Api {
    base: String,
    login: Option<String>,
    client: HttpClient,
    runtime: Handle,
    /// What was fetched and may be read again, and up to when.
    held: Option<(Db, Timestamp)>,
    piece: Duration,
    histograms: bool,
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    result: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
    #[serde(default)]
    histograms: Vec<serde::de::IgnoredAny>,
}

impl Api {
    /// A server at `url`, a login in it included.
    ///
    /// # Errors
    /// If there is no TLS to be had.
    pub fn new(url: &str, runtime: Handle) -> Result<Api> {
        let (base, login) = without_login(url.trim_end_matches('/'));
        let base = if base.contains("://") { base } else { format!("http://{base}") };
        let config = HttpClientConfig { follow_redirects: true, ..HttpClientConfig::default() };
        let client = HttpClient::new(config).map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(Api { base, login, client, runtime, held: None, piece: PIECE_MAX, histograms: false })
    }

    fn ask(&self, path: &str, form: &[(&str, String)]) -> Result<Bytes> {
        let mut headers = vec![("Content-Type", "application/x-www-form-urlencoded".to_owned())];
        headers.extend(self.login.clone().map(|login| ("Authorization", login)));
        let url = format!("{}{path}", self.base);
        let ask = Ask {
            method: Method::POST,
            url: &url,
            headers: &headers,
            body: crate::check::form(form).into(),
            compression: true,
            body_bytes_max: BODY_BYTES_MAX,
            timeout: ANSWER_MAX,
        };
        let answer = self.runtime.block_on(self.client.ask(ask));
        Ok(answer.map_err(|why| anyhow::anyhow!("{}: {why}", self.base))?.body)
    }

    /// The samples of `selector` after `from` and up to `to`.
    fn fetch(&mut self, selector: &str, from: Timestamp, to: Timestamp) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        let mut start = from;
        while start < to {
            let end = (start + self.piece).min(to);
            let range = end.since(start).as_millis();
            let query = format!("{selector}[{range}ms]");
            let time = format!("{:.3}", end.as_secs_f64());
            let body = self.ask("/api/v1/query", &[("query", query), ("time", time)])?;
            let answer: Answer = serde_json::from_slice(&body).with_context(|| {
                let begin: String = String::from_utf8_lossy(&body).chars().take(120).collect();
                format!("{}/api/v1/query is no answer of a Prometheus-compatible server: {begin}", self.base)
            })?;
            if answer.status != "success" {
                let too_much = answer.error.contains("too many samples") || answer.error.contains("limit");
                if too_much && self.piece > PIECE_MIN {
                    self.piece = (self.piece / 2).max(PIECE_MIN);
                    continue;
                }
                bail!("{}: {selector}: {}", self.base, answer.error);
            }
            rows.extend(answer.data.map(|data| data.result).unwrap_or_default());
            start = end;
        }
        Ok(rows)
    }

    fn read(&mut self, needs: &[Need], from: Timestamp, to: Timestamp) -> Result<Db> {
        let before = needs.iter().map(|need| need.before.unwrap_or(OPEN_REACH)).max().unwrap_or_default();
        let after = needs.iter().map(|need| need.after).max().unwrap_or_default();
        let (start, end) = (from - before, to + after);
        let mut series: BTreeMap<Labels, BTreeMap<i64, f64>> = BTreeMap::new();
        let mut fetched = start;
        if let Some((held, until)) = self.held.take() {
            fetched = until.max(start);
            for one in held.select(&[], start, until) {
                let samples =
                    one.samples.iter().filter_map(|s| Some((s.ts.as_millis(), s.value.as_float()?)));
                series.insert(one.labels, samples.collect());
            }
        }
        let selectors: BTreeSet<String> = needs.iter().map(|need| shown(&need.matchers)).collect();
        for selector in selectors {
            for row in self.fetch(&selector, fetched, end)? {
                self.histograms |= !row.histograms.is_empty();
                let samples = series.entry(Labels::from_pairs(row.metric)).or_default();
                for (ts, value) in row.values {
                    let value = number(&value).with_context(|| format!("{}: {value:?}", self.base))?;
                    samples.insert((ts * 1000.0).round() as i64, value);
                }
            }
        }
        let db = Db::in_memory_with(Options { series_max: usize::MAX, ..Options::default() });
        let mut appender = db.appender();
        for (labels, mut samples) in series {
            mark_gaps(&mut samples, end.as_millis());
            let id = appender.series(&labels);
            for (ts, value) in samples {
                appender.append(id, Timestamp::from_millis(ts), value)?;
            }
        }
        appender.commit()?;
        self.held = Some((db.clone(), end));
        Ok(db)
    }

    /// Whether the server had native histograms, which the API gives in no form that can be read back exactly.
    pub fn saw_histograms(&self) -> bool {
        self.histograms
    }
}

impl History for Api {
    fn window(&mut self, needs: &[Need], from: Timestamp, to: Timestamp) -> Result<Db, String> {
        self.read(needs, from, to).map_err(|error| format!("{error:#}"))
    }
}

/// Puts a staleness marker into each pause of more than twice the usual interval, and behind what ended before `end`.
fn mark_gaps(samples: &mut BTreeMap<i64, f64>, end: i64) {
    let times: Vec<i64> = samples.iter().filter(|(_, value)| !is_stale(**value)).map(|(ts, _)| *ts).collect();
    let mut steps: HashMap<i64, usize> = HashMap::new();
    // To the nearest 100 ms, since scrapes jitter.
    let rounded = |pair: &[i64]| ((pair[1] - pair[0] + 50) / 100 * 100).max(1);
    times.windows(2).for_each(|pair| *steps.entry(rounded(pair)).or_default() += 1);
    let Some((step, _)) = steps.into_iter().max_by_key(|(step, count)| (*count, -step)) else { return };
    let after = times.iter().skip(1).copied().chain([end]);
    let pauses: Vec<i64> =
        times.iter().copied().zip(after).filter(|(a, b)| b - a > 2 * step).map(|(a, _)| a).collect();
    pauses.into_iter().for_each(|ts| {
        samples.entry(ts + step).or_insert(STALE_NAN);
    });
}

/// A selector of PromQL.
fn shown(matchers: &[Matcher]) -> String {
    let one = |matcher: &Matcher| {
        let op = match matcher.op() {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        };
        format!("{}{op}{}", label(matcher.name()), quote(matcher.value()))
    };
    format!("{{{}}}", matchers.iter().map(one).collect::<Vec<_>>().join(","))
}

fn label(name: &str) -> String {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if plain { name.to_owned() } else { quote(name) }
}

fn number(text: &str) -> Result<f64> {
    Ok(match text {
        "NaN" => f64::NAN,
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        text => text.parse()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_gets_the_marker_that_the_api_left_out() {
        let mut samples: BTreeMap<i64, f64> =
            [0, 10_000, 20_003, 30_000, 90_000, 100_000].into_iter().map(|ts| (ts, 1.0)).collect();
        mark_gaps(&mut samples, 115_000);
        let marks: Vec<i64> = samples.iter().filter(|(_, v)| is_stale(**v)).map(|(ts, _)| *ts).collect();
        assert_eq!(marks, [40_000]);
        mark_gaps(&mut samples, 160_000);
        let marks: Vec<i64> = samples.iter().filter(|(_, v)| is_stale(**v)).map(|(ts, _)| *ts).collect();
        assert_eq!(marks, [40_000, 110_000]);
    }

    #[test]
    fn selectors_are_written_as_they_are_read() {
        let text = r#"up{job=~"a|b",path!="c\"d"}"#;
        let matchers = tradewatch_promql::parse_selector(text).expect("a selector");
        assert_eq!(shown(&matchers), r#"{job=~"a|b",path!="c\"d",__name__="up"}"#);
    }
}
