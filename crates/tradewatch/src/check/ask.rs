//! Asking: targets for one scrape, a server for what it knows.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::Method;
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::time::Duration;
use tradewatch_check::read::scrape::{Job, ScrapeFile, Target};
use tradewatch_check::{Live, World};
use tradewatch_server::config::{Config, HttpClientConfig};
use tradewatch_server::net::HttpClient;
use tradewatch_server::net::client::Ask;
use tradewatch_server::scrape::discovery::Discovery;
use tradewatch_server::scrape::target::{TargetSpec, discover};

/// Targets asked in one run; a job has more of the same.
const TARGETS_MAX: usize = 200;
/// Time for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Biggest answer.
const BODY_BYTES_MAX: u64 = 256 << 20;
/// Names in one question to a server.
const NAMES_AT_ONCE: usize = 20;
/// Series of one question that are looked at.
const SERIES_MAX: usize = 20_000;

/// Scrapes every target once, and names those that do not answer.
pub async fn scrape(file: &ScrapeFile, config: &Config, world: &mut World) {
    let sources = Discovery::default();
    sources.refresh(config).await;
    let found = discover(config, &sources.told());
    let mut asked = Vec::new();
    for spec in found.targets.into_iter().take(TARGETS_MAX) {
        asked.push(tokio::spawn(async move {
            let answer = one(&spec).await;
            (spec, answer)
        }));
    }
    for task in asked {
        let Ok((spec, answer)) = task.await else { continue };
        let Some(job) = file.jobs.iter().find(|job| job.name == spec.pool) else { continue };
        let address = spec.discovered.get("__address__").unwrap_or("").to_owned();
        let labels = spec.labels().iter().filter(|(name, _)| !name.starts_with("__"));
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let target = Target { address: address.clone(), node: job.node.clone(), labels };
        let outcome = match answer {
            Ok(body) => world.add_scrape(job, &target, &body).map_err(|error| (error, false)),
            Err(failed) => Err(failed),
        };
        if let Err((why, unresolved)) = outcome {
            world.add_unreached(&job.name, &address, &why, unresolved);
        }
    }
    for (job, why) in sources.errors() {
        world.add_unreached(&job, &job, &why, false);
    }
    for job in file.jobs.iter().filter(|job| job.discovered && is_unseen(job, config)) {
        world.add_unreached(
            &job.name,
            &job.name,
            "its targets come from a service discovery that is not asked",
            false,
        );
    }
}

/// Whether a job has targets that this run cannot know.
fn is_unseen(job: &Job, config: &Config) -> bool {
    let read = config.file.scrape_configs.iter().find(|one| one.name() == job.name);
    read.is_none_or(|read| {
        read.file_sd_configs.is_empty() && read.http_sd_configs.is_empty() && read.dns_sd_configs.is_empty()
    })
}

/// One scrape: the body, or why there is none and whether the name has no address.
async fn one(spec: &TargetSpec) -> Result<String, (String, bool)> {
    let uri: http::Uri = spec.url.parse().map_err(|error| (format!("{}: {error}", spec.url), false))?;
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    if let Some(host) = uri.host() {
        let host = host.trim_matches(['[', ']']);
        if let Err(error) = tokio::net::lookup_host((host, port)).await {
            return Err((format!("the name {host:?} cannot be resolved ({error})"), true));
        }
    }
    let client = HttpClient::new(spec.client.clone()).map_err(|error| (error.to_string(), false))?;
    let answer =
        client.ask(get(&spec.url, spec.timeout.min(ANSWER_MAX))).await.map_err(|why| (why, false))?;
    if !answer.status.is_success() {
        return Err((format!("it answers {}", answer.status), false));
    }
    Ok(String::from_utf8_lossy(&answer.body).into_owned())
}

fn get(url: &str, timeout: Duration) -> Ask<'_> {
    Ask {
        method: Method::GET,
        url,
        headers: &[],
        body: Bytes::new(),
        compression: true,
        body_bytes_max: BODY_BYTES_MAX,
        timeout,
    }
}

fn client() -> Result<HttpClient> {
    let config = HttpClientConfig { follow_redirects: true, ..HttpClientConfig::default() };
    HttpClient::new(config).map_err(|error| anyhow::anyhow!("{error}"))
}

/// The body of a metrics page.
pub async fn body(url: &str) -> Result<String> {
    let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let answer = client()?.ask(get(&url, ANSWER_MAX)).await.map_err(|why| anyhow::anyhow!("{url}: {why}"))?;
    if !answer.status.is_success() {
        bail!("{url} answers {}", answer.status);
    }
    Ok(String::from_utf8_lossy(&answer.body).into_owned())
}

/// What a Prometheus-compatible server knows of the names that are used.
pub async fn live(url: &str, names: &BTreeSet<String>) -> Result<Live> {
    let base = url.trim_end_matches('/');
    let base = if base.contains("://") { base.to_owned() } else { format!("http://{base}") };
    let client = client()?;
    let ask = async |path: String| -> Result<Json> {
        let whole = format!("{base}{path}");
        let answer = client.ask(get(&whole, Duration::from_secs(60))).await;
        let answer = answer.map_err(|why| anyhow::anyhow!("{base}: {why}"))?;
        let json: Json = serde_json::from_slice(&answer.body).with_context(|| {
            format!(
                "{base}{} is no answer of a Prometheus-compatible server",
                path.split('?').next().unwrap_or("")
            )
        })?;
        if json["status"] != "success" {
            bail!("{base}: {}", json["error"].as_str().unwrap_or("refused"));
        }
        Ok(json["data"].clone())
    };
    let texts = |json: &Json| -> Vec<String> {
        json.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let mut live = Live {
        url: base.clone(),
        names: texts(&ask("/api/v1/label/__name__/values".to_owned()).await?),
        metadata: ask("/api/v1/metadata".to_owned()).await.unwrap_or_default(),
        ..Live::default()
    };
    let known: BTreeSet<&String> = live.names.iter().collect();
    // `up` tells which labels are those of targets.
    let mut wanted: Vec<&str> =
        names.iter().filter(|name| known.contains(name)).map(String::as_str).collect();
    if !wanted.contains(&"up") && known.iter().any(|name| *name == "up") {
        wanted.push("up");
    }
    for some in wanted.chunks(NAMES_AT_ONCE) {
        let mut query = form(&[("limit", SERIES_MAX.to_string())]);
        for name in some {
            query += &format!(
                "&{}",
                form(&[("match[]", format!("{{__name__={}}}", tradewatch_promql::quote(name)))])
            );
        }
        let rows = ask(format!("/api/v1/series?{query}")).await?;
        let rows = rows.as_array().cloned().unwrap_or_default();
        if rows.len() >= SERIES_MAX {
            live.cut.extend(some.iter().map(|name| (*name).to_owned()));
        }
        live.series.extend(rows);
    }
    if let Ok(targets) = ask("/api/v1/targets?state=active".to_owned()).await {
        for target in targets["activeTargets"].as_array().into_iter().flatten() {
            let interval = target["scrapeInterval"]
                .as_str()
                .and_then(|text| tradewatch_alert::duration::parse(text).ok());
            if let (Some(job), Some(interval)) = (target["labels"]["job"].as_str(), interval) {
                live.intervals.push((job.to_owned(), interval));
            }
        }
    }
    Ok(live)
}

/// `a=b&c=d`, escaped.
pub fn form(pairs: &[(&str, String)]) -> String {
    let escape = |text: &str| -> String {
        text.bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    char::from(byte).to_string()
                }
                byte => format!("%{byte:02X}"),
            })
            .collect()
    };
    let pairs: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
    pairs.join("&")
}
