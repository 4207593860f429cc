//! Targets that others name: HTTP services and name servers, asked every so often.
//!
//! Whoever does not answer costs nothing that is known: the groups of the last good answer stay in force, as in
//! Prometheus, and what went wrong is told once.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType as Wire};
use http::{Method, StatusCode};
use tokio::sync::OnceCell;

use crate::config::file::{RecordType, ScrapeConfig, TargetGroup};
use crate::config::scalar::{LabelName, PromDuration};
use crate::config::{Config, HttpClientConfig};
use crate::net::HttpClient;
use crate::net::client::{Ask, without_login};

/// Biggest answer of a service.
const BODY_BYTES_MAX: u64 = 16 << 20;
/// Targets that one source may name.
const TARGETS_MAX: usize = 100_000;
/// Sources that are asked at once.
const ASKED_MAX: usize = 32;
/// Time after which a source has not answered.
const TIMEOUT: Duration = Duration::from_secs(10);
const HTTP_EVERY: Duration = Duration::from_secs(60);
const DNS_EVERY: Duration = Duration::from_secs(30);

/// Who is asked for targets.
#[derive(Clone, Debug)]
pub struct Source {
    /// Job and what is asked; tells it from the others and holds no secret.
    key: (String, String),
    every: Duration,
    ask: Question,
}

#[derive(Clone, Debug)]
enum Question {
    Http { url: String, client: Box<HttpClientConfig> },
    Dns { name: String, kind: RecordType, port: u16 },
}

impl Source {
    /// The sources of a job; `folder` is where relative file names begin.
    pub fn of(job: &ScrapeConfig, folder: &Path) -> Vec<Source> {
        let every = |given: Option<PromDuration>, default| given.map_or(default, |every| every.0);
        let http = job.http_sd_configs.iter().map(|sd| {
            let mut client = HttpClientConfig::of_http_sd(sd, folder);
            let (url, login) = without_login(&sd.url);
            client.take_login(login);
            Source {
                key: (job.name().to_owned(), format!("http_sd {url}")),
                every: every(sd.refresh_interval, HTTP_EVERY),
                ask: Question::Http { url, client: Box::new(client) },
            }
        });
        // Each name by itself: one that cannot be looked up costs no other.
        let names = job.dns_sd_configs.iter().flat_map(|sd| sd.names.iter().map(move |name| (sd, name)));
        let dns = names.map(|(sd, name)| {
            let port = sd.port.unwrap_or_default();
            Source {
                key: (job.name().to_owned(), format!("dns_sd {:?} {port} {name}", sd.kind)),
                every: every(sd.refresh_interval, DNS_EVERY),
                ask: Question::Dns { name: name.clone(), kind: sd.kind, port },
            }
        });
        http.chain(dns).collect()
    }
}

/// What each source named when it last answered.
#[derive(Clone, Debug, Default)]
pub struct Told(HashMap<(String, String), Arc<Vec<TargetGroup>>>);

impl Told {
    /// The groups of one source; none if it never answered.
    pub fn groups(&self, source: &Source) -> &[TargetGroup] {
        self.0.get(&source.key).map_or(&[], |groups| groups.as_slice())
    }
}

#[derive(Debug, Default)]
struct Known {
    asked: Option<Instant>,
    groups: Option<Arc<Vec<TargetGroup>>>,
    error: Option<String>,
}

/// Asks the sources of a configuration, each at its own pace.
#[derive(Debug, Default)]
pub struct Discovery {
    /// Name servers instead of those of the machine.
    servers: Vec<SocketAddr>,
    resolver: OnceCell<TokioResolver>,
    known: Mutex<HashMap<(String, String), Known>>,
}

impl Discovery {
    /// Nobody was asked yet; names are looked up at `servers`, or where the machine does if there are none.
    pub fn new(servers: Vec<SocketAddr>) -> Discovery {
        Discovery { servers, ..Discovery::default() }
    }

    /// What is known now.
    pub fn told(&self) -> Told {
        let known = self.lock();
        let answered = known.iter().filter_map(|(key, one)| Some((key.clone(), one.groups.clone()?)));
        Told(answered.collect())
    }

    /// What goes wrong now: the job, and a line for each of its sources.
    pub fn errors(&self) -> Vec<(String, String)> {
        let known = self.lock();
        let failed = known.iter().filter_map(|((job, _), one)| Some((job.clone(), one.error.clone()?)));
        let mut errors: Vec<(String, String)> = failed.collect();
        errors.sort();
        errors
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), Known>> {
        self.known.lock().expect("no panic while sources are locked")
    }

    /// Asks the sources of `config` whose time has come, and forgets those that it does not name. Returns whether
    /// there is anything new.
    pub async fn refresh(&self, config: &Config) -> bool {
        let jobs = config.file.scrape_configs.iter();
        let sources: Vec<Source> = jobs.flat_map(|job| Source::of(job, config.folder())).collect();
        let mut changed = false;
        let due: Vec<Source> = {
            let mut known = self.lock();
            let before = known.len();
            known.retain(|key, _| sources.iter().any(|source| source.key == *key));
            changed |= known.len() != before;
            let now = Instant::now();
            let mut due = Vec::new();
            for source in sources {
                let one = known.entry(source.key.clone()).or_default();
                if one.asked.is_none_or(|asked| now.duration_since(asked) >= source.every) {
                    one.asked = Some(now);
                    due.push(source);
                }
            }
            due
        };
        let mut due = due.into_iter();
        let mut asked: FuturesUnordered<_> = due.by_ref().take(ASKED_MAX).map(|one| self.ask(one)).collect();
        while let Some((source, answer)) = asked.next().await {
            if let Some(next) = due.next() {
                asked.push(self.ask(next));
            }
            let answer = answer.and_then(|groups| {
                let count: usize = groups.iter().map(|group| group.targets.len()).sum();
                if count > TARGETS_MAX {
                    return Err(format!("{count} targets are more than {TARGETS_MAX}"));
                }
                Ok(groups)
            });
            let mut known = self.lock();
            let one = known.entry(source.key.clone()).or_default();
            match answer {
                Ok(groups) => {
                    let is_new = one.groups.as_ref().is_none_or(|old| **old != groups);
                    changed |= is_new || one.error.is_some();
                    (one.groups, one.error) = (Some(Arc::new(groups)), None);
                }
                Err(why) => {
                    let error = format!("{}: {why}", source.key.1);
                    changed |= one.error.as_ref() != Some(&error);
                    one.error = Some(error);
                }
            }
        }
        changed
    }

    async fn ask(&self, source: Source) -> (Source, Result<Vec<TargetGroup>, String>) {
        let answer = match &source.ask {
            Question::Http { url, client } => ask_http(url, client, source.every).await,
            Question::Dns { name, kind, port } => {
                let look = self.look_up(name, *kind, *port);
                let answer = tokio::time::timeout(TIMEOUT, look).await;
                answer.unwrap_or_else(|_| Err(format!("no answer within {TIMEOUT:?}")))
            }
        };
        (source, answer)
    }

    async fn look_up(&self, name: &str, kind: RecordType, port: u16) -> Result<Vec<TargetGroup>, String> {
        let resolver = self.resolver.get_or_try_init(|| async { resolver(&self.servers) }).await?;
        let kind = match kind {
            RecordType::Srv => Wire::SRV,
            RecordType::A => Wire::A,
            RecordType::Aaaa => Wire::AAAA,
            RecordType::Mx => Wire::MX,
            RecordType::Ns => Wire::NS,
        };
        let found = match resolver.lookup(name, kind).await {
            Ok(found) => found,
            // A name without records has no targets; that is an answer.
            Err(error) if error.is_no_records_found() => return Ok(Vec::new()),
            Err(error) => return Err(error.to_string()),
        };
        let mut groups: Vec<TargetGroup> =
            found.answers().iter().filter_map(|record| target_of(name, &record.data, port)).collect();
        // Servers turn the order about to share the load; that is nothing new.
        groups.sort_by(|a, b| a.targets.cmp(&b.targets).then_with(|| a.labels.cmp(&b.labels)));
        Ok(groups)
    }
}

fn resolver(servers: &[SocketAddr]) -> Result<TokioResolver, String> {
    let builder = if servers.is_empty() {
        TokioResolver::builder_tokio().map_err(|error| format!("the machine's name servers: {error}"))?
    } else {
        let name_servers = servers.iter().map(|server| {
            let at = |mut connection: ConnectionConfig| {
                connection.port = server.port();
                connection
            };
            let mut config = NameServerConfig::udp_and_tcp(server.ip());
            config.connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
            config
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), name_servers.collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let mut builder = builder;
    // We ask at our own pace and want what is true then.
    builder.options_mut().cache_size = 0;
    builder.build().map_err(|error| format!("the machine's name servers: {error}"))
}

/// The target that a record names, with the labels that Prometheus gives it.
fn target_of(name: &str, data: &RData, port: u16) -> Option<TargetGroup> {
    let mut labels = vec![("__meta_dns_name", name.to_owned())];
    let host = |name: &dyn ToString| name.to_string().trim_end_matches('.').to_owned();
    let target = match data {
        RData::SRV(srv) => {
            labels.push(("__meta_dns_srv_record_target", srv.target.to_string()));
            labels.push(("__meta_dns_srv_record_port", srv.port.to_string()));
            format!("{}:{}", host(&srv.target), srv.port)
        }
        RData::A(address) => format!("{}:{port}", address.0),
        RData::AAAA(address) => format!("[{}]:{port}", address.0),
        RData::MX(mx) => {
            labels.push(("__meta_dns_mx_record_target", mx.exchange.to_string()));
            format!("{}:{port}", host(&mx.exchange))
        }
        RData::NS(server) => {
            labels.push(("__meta_dns_ns_record_target", server.0.to_string()));
            format!("{}:{port}", host(&server.0))
        }
        _ => return None, // A CNAME on the way.
    };
    let labels = labels.into_iter().map(|(name, value)| (LabelName(name.to_owned()), value)).collect();
    Some(TargetGroup { targets: vec![target], labels })
}

async fn ask_http(url: &str, client: &HttpClientConfig, every: Duration) -> Result<Vec<TargetGroup>, String> {
    let client = HttpClient::new(client.clone()).map_err(|error| error.to_string())?;
    let headers = [
        ("accept", "application/json".to_owned()),
        ("x-prometheus-refresh-interval-seconds", every.as_secs_f64().to_string()),
    ];
    let ask = Ask {
        method: Method::GET,
        url,
        headers: &headers,
        body: bytes::Bytes::new(),
        compression: true,
        body_bytes_max: BODY_BYTES_MAX,
        timeout: TIMEOUT,
    };
    let answer = client.ask(ask).await?;
    if answer.status != StatusCode::OK {
        return Err(format!("it answered {}", answer.status));
    }
    if !answer.content_type.trim().to_ascii_lowercase().starts_with("application/json") {
        return Err(format!("its answer is {:?}, not application/json", answer.content_type));
    }
    let groups: Vec<TargetGroup> = serde_json::from_slice(&answer.body).map_err(|error| {
        format!("its answer is no list of {{\"targets\": […], \"labels\": {{…}}}}: {error}")
    })?;
    let with_url = groups.into_iter().map(|mut group| {
        group.labels.insert(LabelName("__meta_url".to_owned()), url.to_owned());
        group
    });
    Ok(with_url.collect())
}
