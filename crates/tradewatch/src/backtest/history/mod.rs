//! Where recorded history comes from: a store, a server, or a file.

mod api;
mod readonly;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use tokio::runtime::Handle;
use tradewatch_alert::replay::{History, Need};
use tradewatch_tsdb::{Db, Options, Timestamp};

/// Options that say what history is looked at.
#[derive(Args, Clone)]
pub struct HistoryArgs {
    /// The data directory of a monitor, running or not, or a backup or snapshot of its store
    #[arg(long, value_name = "DIR", conflicts_with_all = ["url", "openmetrics"])]
    pub data: Option<PathBuf>,
    /// A server with Prometheus' HTTP API
    #[arg(long, conflicts_with = "openmetrics")]
    pub url: Option<String>,
    /// A file in the OpenMetrics format in which every sample has a timestamp
    #[arg(long, value_name = "FILE")]
    pub openmetrics: Option<PathBuf>,
    /// From this time: RFC 3339, Unix seconds, or a time before the end like 7d; where history begins if absent
    #[arg(long)]
    pub from: Option<String>,
    /// Up to this time: RFC 3339, Unix seconds, or `now`; where history ends if absent
    #[arg(long)]
    pub to: Option<String>,
    /// The evaluation interval of groups that name none
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = tradewatch_alert::duration::parse)]
    pub interval: Duration,
    /// Halts, closures and other hours that the calendars do not know, as for `serve`
    #[arg(long = "calendar.overlay", value_name = "FILE")]
    pub calendar_overlay: Option<PathBuf>,
    /// Evaluate no group more often than this
    #[arg(long, value_name = "DURATION", value_parser = tradewatch_alert::duration::parse)]
    pub step: Option<Duration>,
}

/// History that was opened, and the time that is looked at.
pub struct Opened {
    pub source: Source,
    pub from: Timestamp,
    pub to: Timestamp,
    /// The first sample there is, where that is known.
    pub begins: Option<Timestamp>,
}

/// A history.
pub enum Source {
    /// A store or a file.
    Store(Db),
    /// A server.
    Api(Box<api::Api>),
}

impl Source {
    /// What there was to say about it, once it was read.
    pub fn remarks(&self) -> Vec<String> {
        match self {
            Source::Api(api) if api.saw_histograms() => vec![
                "the server holds native histograms, which its API does not give exactly: rules on them saw nothing"
                    .to_owned(),
            ],
            _ => Vec::new(),
        }
    }
}

impl History for Source {
    fn window(&mut self, needs: &[Need], from: Timestamp, to: Timestamp) -> Result<Db, String> {
        match self {
            Source::Store(db) => Ok(db.clone()),
            Source::Api(api) => api.window(needs, from, to),
        }
    }
}

/// Opens what `args` name. `now` is for times that are relative to it.
///
/// # Errors
/// Nothing or something unreadable is named, or times that do not rise.
pub fn open(args: &HistoryArgs, runtime: Handle, now: Timestamp) -> Result<Opened> {
    let (source, span) = match (&args.data, &args.url, &args.openmetrics) {
        (Some(folder), _, _) => store(folder)?,
        (_, Some(url), _) => (Source::Api(Box::new(api::Api::new(url, runtime)?)), None),
        (_, _, Some(file)) => {
            let db = crate::store::read_openmetrics(file)?;
            let span = span(&db);
            (Source::Store(db), span)
        }
        _ => bail!("name the history: --data DIR, --url URL or --openmetrics FILE"),
    };
    let to = match (args.to.as_deref(), span) {
        (Some(text), _) => time(text, now, now).with_context(|| "--to".to_owned())?,
        (None, Some((_, last))) => last + Duration::from_millis(1),
        (None, None) => now,
    };
    let from = match (args.from.as_deref(), span) {
        (Some(text), _) => time(text, to, now).with_context(|| "--from".to_owned())?,
        (None, Some((first, _))) => first,
        (None, None) => bail!("--url needs --from, for example --from 7d"),
    };
    if to <= from {
        bail!("--to {to} is not after --from {from}");
    }
    if let Some((first, last)) = span
        && (from > last || to < first)
    {
        bail!("there is no sample from {from} to {to}; history goes from {first} to {last}");
    }
    Ok(Opened { source, from, to, begins: span.map(|(first, _)| first) })
}

fn store(folder: &Path) -> Result<(Source, Option<(Timestamp, Timestamp)>)> {
    let folder = inside(folder).map_or_else(|| folder.to_owned(), |monitor| monitor.join("tsdb"));
    let is_store =
        std::fs::read_dir(&folder).with_context(|| format!("open {}", folder.display()))?.any(|entry| {
            let name =
                entry.map(|entry| entry.file_name().to_string_lossy().into_owned()).unwrap_or_default();
            ["wal-", "checkpoint-", "block-"].iter().any(|kind| name.starts_with(kind))
        });
    if !is_store {
        bail!("{} holds no store; name the data directory of a monitor, or a backup", folder.display());
    }
    let dir = readonly::ReadOnlyDir::new(&folder).with_context(|| format!("open {}", folder.display()))?;
    let (db, recovery) = Db::open(Arc::new(dir), Options::default())?;
    recovery.damage.iter().filter(|damage| !damage.is_torn_tail).for_each(|damage| eprintln!("{damage}"));
    let span = span(&db);
    if span.is_none() {
        bail!("{} holds no samples", folder.display());
    }
    Ok((Source::Store(db), span))
}

/// The folder of the monitor within a data directory: itself, or that of a demo's.
pub fn inside(folder: &Path) -> Option<PathBuf> {
    [folder.to_owned(), folder.join("monitor")].into_iter().find(|one| one.join("tsdb").is_dir())
}

fn span(db: &Db) -> Option<(Timestamp, Timestamp)> {
    let stats = db.stats();
    Some((stats.min_time?, stats.max_time?))
}

/// Reads a time: RFC 3339, Unix seconds, `now`, or a duration before `end`.
fn time(text: &str, end: Timestamp, now: Timestamp) -> Result<Timestamp> {
    if text == "now" {
        return Ok(now);
    }
    if let Some(at) = moment(text) {
        return Ok(at);
    }
    let before = text.strip_prefix("now-").map(|before| (now, before)).unwrap_or((end, text));
    match tradewatch_alert::duration::parse(before.1) {
        Ok(length) => Ok(before.0 - length),
        Err(_) => bail!("{text:?} is no time; write 2026-03-02T14:30:00Z, Unix seconds, now, or 7d"),
    }
}

/// RFC 3339 with an offset, a date (in UTC), or Unix seconds.
pub fn moment(text: &str) -> Option<Timestamp> {
    if let Ok(seconds) = text.parse::<f64>() {
        return seconds.is_finite().then(|| Timestamp::from_secs_f64(seconds));
    }
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Some(Timestamp::from_millis(at.as_millisecond()));
    }
    let date: jiff::civil::Date = text.parse().ok()?;
    let at = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Timestamp::from_millis(at.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_or_refused() {
        let (end, now) = (Timestamp::from_millis(900_000), Timestamp::from_millis(1_000_000));
        let read = |text: &str| time(text, end, now).map(Timestamp::as_millis).ok();
        assert_eq!(
            (read("now"), read("now-10s"), read("10s"), read("600.5")),
            (Some(1_000_000), Some(990_000), Some(890_000), Some(600_500))
        );
        assert_eq!((read("1970-01-02"), read("1970-01-01T00:00:01+00:00")), (Some(86_400_000), Some(1_000)));
        assert_eq!((read("yesterday"), read(""), read("inf")), (None, None, None));
    }
}
