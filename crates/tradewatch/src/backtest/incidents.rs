//! What really happened: incidents from a file, or marks that people made.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tradewatch_alert::replay::Episode;
use tradewatch_alert::yaml::{self, Kind, Node};
use tradewatch_server::annotations::Annotation;
use tradewatch_tsdb::{Labels, Timestamp};

use super::history::moment;

/// The tag of annotations that are incidents.
pub const TAG: &str = "incident";
/// Before the name of an alert that should tell of the incident, in a tag.
const ALERT_TAG: &str = "alert:";
/// Incidents that are looked at.
const INCIDENTS_MAX: usize = 100_000;

/// Something that should have been told.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Incident {
    /// What happened.
    pub name: String,
    /// When it began.
    #[serde(serialize_with = "rfc3339")]
    pub from: Timestamp,
    /// When it was over.
    #[serde(serialize_with = "rfc3339")]
    pub to: Timestamp,
    /// The alerts that should tell of it; any may if there is none.
    pub alerts: Vec<String>,
    /// Labels that such an alert must have.
    pub labels: BTreeMap<String, String>,
}

fn rfc3339<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

impl Incident {
    /// Whether the alert may tell of this incident, whatever the time.
    pub fn concerns(&self, labels: &Labels) -> bool {
        let name = labels.get("alertname").unwrap_or("");
        (self.alerts.is_empty() || self.alerts.iter().any(|alert| alert == name))
            && self.labels.iter().all(|(label, value)| labels.get(label) == Some(value))
    }

    /// Whether the alert began to fire because of it: while it lasted, or within `grace` after it.
    pub fn found_by(&self, episode: &Episode, grace: Duration) -> bool {
        let in_time = |fired: Timestamp| fired >= self.from && fired <= self.to + grace;
        episode.fired_at.is_some_and(in_time) && self.concerns(&episode.labels)
    }
}

/// Reads incidents: a list in YAML or JSON, or annotations as JSON lines, of which those tagged `incident` count.
///
/// # Errors
/// Every error with its line.
pub fn read(path: &Path) -> Result<Vec<Incident>> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("read {shown}"))?;
    let found = if shown.ends_with(".jsonl") { marks(&shown, &text)? } else { list(&shown, &text)? };
    if found.len() > INCIDENTS_MAX {
        bail!("{shown}: {} incidents; at most {INCIDENTS_MAX} are looked at", found.len());
    }
    Ok(found)
}

/// The incidents that people marked at the monitor whose data directory this is.
///
/// # Errors
/// As [`read`].
pub fn marked(folder: &Path) -> Result<Vec<Incident>> {
    match super::history::inside(folder).unwrap_or_default().join("annotations.jsonl") {
        marks if marks.is_file() => read(&marks),
        _ => Ok(Vec::new()),
    }
}

/// The incidents among annotations.
pub fn of_annotations(annotations: &[Annotation]) -> Vec<Incident> {
    let marked = annotations.iter().filter(|mark| mark.tags.iter().any(|tag| tag == TAG));
    let mut found: Vec<Incident> = marked.map(of_annotation).collect();
    found.sort_by_key(|incident| (incident.from, incident.to));
    found
}

fn of_annotation(mark: &Annotation) -> Incident {
    Incident {
        name: mark.text.clone(),
        from: Timestamp::from_millis(mark.time),
        to: Timestamp::from_millis(mark.time_end.max(mark.time)),
        alerts: mark.tags.iter().filter_map(|tag| tag.strip_prefix(ALERT_TAG)).map(str::to_owned).collect(),
        labels: BTreeMap::new(),
    }
}

fn marks(path: &str, text: &str) -> Result<Vec<Incident>> {
    let mut marks = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let mark = serde_json::from_str::<Annotation>(line)
            .map_err(|error| anyhow::anyhow!("{path}:{}:{}: {error}", at + 1, error.column()))?;
        marks.push(mark);
    }
    Ok(of_annotations(&marks))
}

fn list(path: &str, text: &str) -> Result<Vec<Incident>> {
    let (root, _) = yaml::parse(path, text)?;
    let Some(root) = root else { bail!("{path}: no incidents") };
    let items = match &root.kind {
        Kind::Map(entries) => {
            entries.iter().find(|(key, _)| key.text() == Some("incidents")).map(|(_, node)| node)
        }
        _ => Some(&root),
    };
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    match items.map(|node| &node.kind) {
        Some(Kind::List(items)) => {
            for item in items {
                match incident(item) {
                    Ok(incident) => found.push(incident),
                    Err((node, why)) => errors.push(format!("{path}:{}:{}: {why}", node.line, node.column)),
                }
            }
        }
        _ => bail!(
            "{path}:{}:{}: expected a list of incidents, or a mapping with `incidents`, not {}",
            root.line,
            root.column,
            root.describe()
        ),
    }
    if !errors.is_empty() {
        bail!("{}", errors.join("\n"));
    }
    found.sort_by_key(|incident: &Incident| (incident.from, incident.to));
    Ok(found)
}

/// Why a node cannot be read.
type Fault<'n> = (&'n Node, String);

fn incident(item: &Node) -> Result<Incident, Fault<'_>> {
    let Kind::Map(entries) = &item.kind else {
        return Err((item, format!("an incident is a mapping, not {}", item.describe())));
    };
    let (mut name, mut from, mut to) = (None, None, None);
    let (mut alerts, mut labels) = (Vec::new(), BTreeMap::new());
    for (key, node) in entries {
        match key.text().unwrap_or("") {
            "name" => name = Some(words(node)?.to_owned()),
            "from" => from = Some(time(node)?),
            "to" => to = Some((node, time(node)?)),
            "alerts" => match &node.kind {
                Kind::List(items) => {
                    alerts =
                        items.iter().map(|one| words(one).map(str::to_owned)).collect::<Result<_, _>>()?;
                }
                _ => return Err((node, format!("`alerts` is a list of names, not {}", node.describe()))),
            },
            "labels" => match &node.kind {
                Kind::Map(pairs) => {
                    for (label, value) in pairs {
                        labels.insert(words(label)?.to_owned(), words(value)?.to_owned());
                    }
                }
                _ => return Err((node, format!("`labels` is a mapping, not {}", node.describe()))),
            },
            other => {
                let known = "an incident has name, from, to, alerts and labels";
                return Err((key, format!("{other:?} is not known; {known}")));
            }
        }
    }
    let Some(from) = from else {
        return Err((
            item,
            "an incident without `from`; write when it began: from: 2026-03-02T14:30:00Z".to_owned(),
        ));
    };
    if let Some((node, to)) = to
        && to < from
    {
        return Err((node, format!("it ends at {to}, before it begins at {from}")));
    }
    let name = name.unwrap_or_else(|| from.to_string());
    Ok(Incident { name, from, to: to.map_or(from, |(_, to)| to), alerts, labels })
}

fn words(node: &Node) -> Result<&str, Fault<'_>> {
    node.text().ok_or_else(|| (node, format!("expected a text, not {}", node.describe())))
}

fn time(node: &Node) -> Result<Timestamp, Fault<'_>> {
    let text = words(node)?;
    moment(text)
        .ok_or_else(|| (node, format!("{text:?} is no time; write 2026-03-02T14:30:00Z or Unix seconds")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_faults_have_a_place() {
        let text = "- {name: feed lost, from: 2026-03-02T14:30:00Z, to: 2026-03-02T14:35:00Z, alerts: [FeedLost]}\n\
                    - from: 1772461800\n  labels: {symbol: AAPL}\n";
        let found = list("i.yml", text).expect("incidents");
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].labels["symbol"].as_str(), found[0].from), ("AAPL", found[0].to));
        assert_eq!(
            (found[1].name.as_str(), found[1].alerts.as_slice()),
            ("feed lost", &["FeedLost".to_owned()][..])
        );
        assert_eq!(list("i.json", "{\"incidents\": [{\"from\": 5, \"to\": 6}]}").expect("JSON").len(), 1);
        for (text, why) in [
            ("- {from: soon}", "i.yml:1:10: \"soon\" is no time"),
            ("- {name: x}", "i.yml:1:3: an incident without `from`"),
            ("- {from: 6, to: 5}", "before it begins"),
            ("- {from: 6, until: 5}", "until"),
            ("7", "i.yml:1:1"),
        ] {
            let error = list("i.yml", text).expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn marks_count_that_are_tagged() {
        let text = "{\"time\":1000,\"timeEnd\":5000,\"tags\":[\"incident\",\"alert:Lost\"],\"text\":\"broker\"}\n\n\
                    {\"time\":1000,\"tags\":[\"deploy\"],\"text\":\"v2\"}\n";
        let found = marks("a.jsonl", text).expect("marks");
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].to.as_millis(), found[0].alerts[0].as_str()), (5000, "Lost"));
        let error = marks("a.jsonl", "{}\n{\"time\": x}\n").expect_err("broken").to_string();
        assert!(error.starts_with("a.jsonl:2:"), "{error}");
    }
}
