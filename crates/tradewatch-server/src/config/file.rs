//! `prometheus.yml` as it is written: every key that Prometheus knows, each checked while it is read.
//!
//! A key that Prometheus knows and this monitor does not act upon is an [`Unsupported`]: it is taken,
//! and named once in a warning. Any other key is an error with its place.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;

use super::scalar::{Anchored, ByteSize, LabelName, PromDuration, Secret, Unsupported};

type No = Option<Spanned<Unsupported>>;

/// Declares a struct together with the list of its keys that are known and not acted upon.
macro_rules! section {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($(#[$field_meta:meta])* pub $field:ident : $type:ty,)*
        }
        unsupported { $($no:ident,)* }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, Deserialize, Serialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
            $(#[serde(skip_serializing)] $no: No,)*
        }
        impl $name {
            /// The keys of this section that are present and not acted upon, with line and column.
            pub fn unsupported(&self) -> Vec<(&'static str, u64, u64)> {
                #[allow(unused_mut)] // Some sections have none.
                let mut found = Vec::new();
                $(if let Some(at) = &self.$no {
                    found.push((stringify!($no), at.referenced.line(), at.referenced.column()));
                })*
                found
            }
        }
    };
}

section! {
    /// The whole of `prometheus.yml`.
    pub struct PrometheusFile {
        /// Defaults of every job.
        pub global: Global,
        /// Rule files, as glob patterns beside this file.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub rule_files: Vec<Spanned<String>>,
        /// The jobs.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub scrape_configs: Vec<ScrapeConfig>,
        /// Outside Alertmanagers.
        #[serde(skip_serializing_if = "Alerting::is_empty")]
        pub alerting: Alerting,
    }
    unsupported { scrape_config_files, remote_write, remote_read, storage, tracing, otlp, runtime, }
}

section! {
    /// Defaults of every job, and the interval of rules.
    pub struct Global {
        /// Default of `scrape_interval`; 1 m where nothing says otherwise.
        pub scrape_interval: Option<PromDuration>,
        /// Default of `scrape_timeout`; 10 s, or the interval where that is shorter.
        pub scrape_timeout: Option<PromDuration>,
        /// Upper bound between two evaluations of a rule group; 1 m where nothing says otherwise.
        pub evaluation_interval: Option<PromDuration>,
        /// How far back rules look where their group does not say; nothing where nothing says otherwise.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub rule_query_offset: Option<PromDuration>,
        /// Labels of this monitor, added to what leaves it.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub external_labels: BTreeMap<LabelName, String>,
        /// Default of `body_size_limit`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub body_size_limit: Option<ByteSize>,
        /// Default of `sample_limit`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub sample_limit: Option<u64>,
        /// Default of `label_limit`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub label_limit: Option<u64>,
        /// Default of `label_name_length_limit`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub label_name_length_limit: Option<u64>,
        /// Default of `label_value_length_limit`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub label_value_length_limit: Option<u64>,
    }
    unsupported {
        query_log_file, scrape_failure_log_file, scrape_protocols, target_limit,
        keep_dropped_targets, metric_name_validation_scheme, metric_name_escaping_scheme,
        convert_classic_histograms_to_nhcb, always_scrape_classic_histograms, scrape_native_histograms,
        extra_scrape_metrics,
    }
}

section! {
    /// One job: what to scrape, how often, and what to keep of it.
    pub struct ScrapeConfig {
        /// The job's name; the `job` label of its targets.
        pub job_name: Option<Spanned<String>>,
        /// Time between two scrapes.
        pub scrape_interval: Option<Spanned<PromDuration>>,
        /// Time after which a scrape has failed.
        pub scrape_timeout: Option<Spanned<PromDuration>>,
        /// The path; `/metrics` where nothing says otherwise.
        pub metrics_path: Option<String>,
        /// `http` or `https`.
        pub scheme: Option<Scheme>,
        /// Query parameters.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub params: BTreeMap<String, Vec<String>>,
        /// Whether a label of the target's own wins over ours.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub honor_labels: Option<bool>,
        /// Whether time stamps in the body are used; true where nothing says otherwise.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub honor_timestamps: Option<bool>,
        /// Whether gzip is asked for; true where nothing says otherwise.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub enable_compression: Option<bool>,
        /// Biggest body, uncompressed; a bigger one fails the scrape.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub body_size_limit: Option<ByteSize>,
        /// Most samples after relabelling; more fail the scrape.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub sample_limit: Option<u64>,
        /// Most labels on one sample.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub label_limit: Option<u64>,
        /// Longest label name, in bytes.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub label_name_length_limit: Option<u64>,
        /// Longest label value, in bytes.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub label_value_length_limit: Option<u64>,
        /// Targets written here.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub static_configs: Vec<TargetGroup>,
        /// Targets in files that are watched.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub file_sd_configs: Vec<FileSd>,
        /// Targets that a service names.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub http_sd_configs: Vec<HttpSd>,
        /// Targets that a name server names.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub dns_sd_configs: Vec<DnsSd>,
        /// Rewrites the labels of a target before it is scraped.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub relabel_configs: Vec<RelabelConfig>,
        /// Rewrites the labels of each sample before it is stored.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub metric_relabel_configs: Vec<RelabelConfig>,
        /// User and password.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub basic_auth: Option<BasicAuth>,
        /// Any other `Authorization`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub authorization: Option<Authorization>,
        /// The old form of `authorization`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub bearer_token: Option<Secret>,
        /// The old form of `authorization`, from a file.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub bearer_token_file: Option<String>,
        /// How the target proves itself, and we to it.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub tls_config: Option<TlsConfig>,
        /// Whether a redirect is followed; true where nothing says otherwise.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub follow_redirects: Option<bool>,
        /// Accepted; HTTP/1.1 is spoken.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub enable_http2: Option<bool>,
    }
    unsupported {
        scrape_protocols, fallback_scrape_protocol, scrape_failure_log_file, track_timestamps_staleness,
        target_limit, keep_dropped_targets, native_histogram_bucket_limit, native_histogram_min_bucket_factor,
        metric_name_validation_scheme, metric_name_escaping_scheme, convert_classic_histograms_to_nhcb,
        always_scrape_classic_histograms, scrape_native_histograms, extra_scrape_metrics,
        oauth2, proxy_url, proxy_from_environment, no_proxy, proxy_connect_header, http_headers,
        azure_sd_configs, consul_sd_configs, digitalocean_sd_configs, docker_sd_configs,
        dockerswarm_sd_configs, ec2_sd_configs, ecs_sd_configs, eureka_sd_configs, gce_sd_configs,
        hetzner_sd_configs, ionos_sd_configs, kubernetes_sd_configs, kuma_sd_configs,
        lightsail_sd_configs, linode_sd_configs, marathon_sd_configs, nerve_sd_configs, nomad_sd_configs,
        openstack_sd_configs, ovhcloud_sd_configs, puppetdb_sd_configs, scaleway_sd_configs,
        serverset_sd_configs, stackit_sd_configs, triton_sd_configs, uyuni_sd_configs, vultr_sd_configs,
    }
}

impl ScrapeConfig {
    /// The job's name.
    pub fn name(&self) -> &str {
        self.job_name.as_ref().map_or("", |name| name.value.as_str())
    }
}

section! {
    /// Outside Alertmanagers and what is rewritten on the way to them.
    pub struct Alerting {
        /// Where alerts go beside our own notifier.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub alertmanagers: Vec<AlertmanagerConfig>,
        /// Rewrites the labels of an alert before it is sent.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub alert_relabel_configs: Vec<RelabelConfig>,
    }
    unsupported { }
}

impl Alerting {
    fn is_empty(&self) -> bool {
        self.alertmanagers.is_empty() && self.alert_relabel_configs.is_empty()
    }
}

section! {
    /// One set of Alertmanagers.
    pub struct AlertmanagerConfig {
        /// `http` or `https`.
        pub scheme: Option<Scheme>,
        /// Put before `/api/v2/alerts`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub path_prefix: Option<String>,
        /// Time after which a delivery has failed; 10 s where nothing says otherwise.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub timeout: Option<PromDuration>,
        /// `v2`, the only one there is.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub api_version: Option<String>,
        /// Their addresses.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub static_configs: Vec<TargetGroup>,
        /// User and password.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub basic_auth: Option<BasicAuth>,
        /// Any other `Authorization`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub authorization: Option<Authorization>,
        /// How it proves itself, and we to it.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub tls_config: Option<TlsConfig>,
        /// Accepted; redirects are not followed.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub follow_redirects: Option<bool>,
    }
    unsupported {
        relabel_configs, alert_relabel_configs, file_sd_configs, dns_sd_configs, http_sd_configs, consul_sd_configs,
        kubernetes_sd_configs, ec2_sd_configs, oauth2, proxy_url, enable_http2, http_headers, sigv4,
    }
}

/// Addresses that share labels.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct TargetGroup {
    /// `host:port` each.
    pub targets: Vec<String>,
    /// Labels of all of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<LabelName, String>,
}

/// Files that hold target groups, as JSON or YAML.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct FileSd {
    /// Glob patterns beside the configuration file.
    pub files: Vec<String>,
    /// Accepted; files are looked at every few seconds in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_interval: Option<PromDuration>,
}

section! {
    /// A service that answers with target groups, as JSON.
    pub struct HttpSd {
        /// Where it is asked; a login in it is shown to nobody.
        #[serde(serialize_with = "without_login")]
        pub url: String,
        /// Between two questions; 1 m where nothing says otherwise.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub refresh_interval: Option<PromDuration>,
        /// User and password.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub basic_auth: Option<BasicAuth>,
        /// Any other `Authorization`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub authorization: Option<Authorization>,
        /// How it proves itself, and we to it.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub tls_config: Option<TlsConfig>,
        /// Whether a redirect is followed; true where nothing says otherwise.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub follow_redirects: Option<bool>,
        /// Accepted; HTTP/1.1 is spoken.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub enable_http2: Option<bool>,
    }
    unsupported { oauth2, proxy_url, proxy_from_environment, no_proxy, proxy_connect_header, http_headers, }
}

fn without_login<S: serde::Serializer>(url: &str, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&crate::net::client::without_login(url).0)
}

/// Names that are looked up.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DnsSd {
    /// What is looked up.
    pub names: Vec<String>,
    /// The type of record.
    #[serde(rename = "type")]
    pub kind: RecordType,
    /// The port of the targets; SRV records bring their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Between two questions; 30 s where nothing says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_interval: Option<PromDuration>,
}

/// A type of DNS record.
#[derive(Copy, Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)] // The words are those of DNS.
pub enum RecordType {
    #[default]
    Srv,
    A,
    Aaaa,
    Mx,
    Ns,
}

/// One step of relabelling.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct RelabelConfig {
    /// Labels whose values are joined and matched.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_labels: Vec<LabelName>,
    /// What joins them; `;` where nothing says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// What the joined value must match; `(.*)` where nothing says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex: Option<Anchored>,
    /// Divisor of `hashmod`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modulus: Option<u64>,
    /// The label that is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_label: Option<String>,
    /// What is written; `$1` where nothing says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replacement: Option<String>,
    /// What is done.
    pub action: Action,
}

/// What a relabelling step does.
#[derive(Copy, Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // The words are Prometheus' own.
pub enum Action {
    #[default]
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

/// How a target or an Alertmanager is spoken to.
#[derive(Copy, Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // Nothing to say beyond the names.
pub enum Scheme {
    #[default]
    Http,
    Https,
}

impl Scheme {
    /// As written before `://`.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// User and password, each here or in a file.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)] // The words are Prometheus' own.
pub struct BasicAuth {
    pub username: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
}

/// The `Authorization` header: a scheme and credentials, here or in a file.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)] // The words are Prometheus' own.
pub struct Authorization {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<String>,
}

/// Which certificates are trusted and shown.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)] // The words are Prometheus' own.
pub struct TlsConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure_skip_verify: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_version: Option<String>,
}
