//! Marks on the charts: a deployment, an incident, a drill; in Grafana's form.

use std::path::Path;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::jsonl::JsonLines;

/// Annotations that are kept; the oldest go first.
const ANNOTATIONS_MAX: usize = 10_000;
const TEXT_BYTES_MAX: usize = 8 << 10;
const TAGS_MAX: usize = 32;

/// One mark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Annotation {
    /// Number, given by us.
    #[serde(default)]
    pub id: u64,
    /// Where it begins, in milliseconds.
    #[serde(default)]
    pub time: i64,
    /// Where it ends; equal to `time` for a point.
    #[serde(default)]
    pub time_end: i64,
    /// What it belongs to.
    #[serde(default)]
    pub tags: Vec<String>,
    /// What it says.
    #[serde(default)]
    pub text: String,
    /// The dashboard it belongs to, empty for all.
    #[serde(default, rename = "dashboardUID", skip_serializing_if = "String::is_empty")]
    pub dashboard_uid: String,
    /// The panel it belongs to, 0 for all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub panel_id: u64,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// All marks, kept in a file.
#[derive(Debug)]
pub struct Annotations(Mutex<State>);

#[derive(Debug)]
struct State {
    file: JsonLines,
    all: Vec<Annotation>,
    next_id: u64,
}

impl Annotations {
    /// Opens `annotations.jsonl` in `data_dir`, or keeps all in memory.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(data_dir: Option<&Path>) -> Result<Annotations, Error> {
        let (file, all) = match data_dir {
            None => (JsonLines::in_memory(), Vec::new()),
            Some(folder) => JsonLines::open::<Annotation>(&folder.join("annotations.jsonl"))?,
        };
        let next_id = all.iter().map(|a| a.id).max().unwrap_or(0) + 1;
        Ok(Annotations(Mutex::new(State { file, all, next_id })))
    }

    /// Adds a mark and gives it its number; without a time it is `now`.
    ///
    /// # Errors
    /// It says nothing, says too much, or the disk does not take it.
    pub fn add(&self, mut annotation: Annotation, now_ms: i64) -> Result<u64, Error> {
        if annotation.text.trim().is_empty() {
            return Err(Error::query("an annotation needs a text"));
        }
        if annotation.text.len() > TEXT_BYTES_MAX || annotation.tags.len() > TAGS_MAX {
            return Err(Error::query(format!(
                "an annotation has at most {TEXT_BYTES_MAX} bytes of text and {TAGS_MAX} tags"
            )));
        }
        if annotation.time == 0 {
            annotation.time = now_ms;
        }
        annotation.time_end = annotation.time_end.max(annotation.time);
        let mut state = self.0.lock().expect("no panic while annotations are locked");
        annotation.id = state.next_id;
        state.file.append(&annotation)?;
        state.next_id += 1;
        let id = annotation.id;
        state.all.push(annotation);
        if state.all.len() > ANNOTATIONS_MAX {
            // A tenth goes at once, so that the file is not rewritten each time.
            state.all.drain(..ANNOTATIONS_MAX / 10);
            let State { file, all, .. } = &mut *state;
            file.rewrite(all.iter())?;
        }
        Ok(id)
    }

    /// Marks that touch `from` to `to` and carry all of `tags`, the newest first, at most `limit`.
    pub fn find(&self, from: i64, to: i64, tags: &[&str], limit: usize) -> Vec<Annotation> {
        let state = self.0.lock().expect("no panic while annotations are locked");
        let mut found: Vec<Annotation> = state
            .all
            .iter()
            .filter(|a| a.time <= to && a.time_end >= from)
            .filter(|a| tags.iter().all(|tag| a.tags.iter().any(|own| own == tag)))
            .cloned()
            .collect();
        found.sort_by_key(|a| std::cmp::Reverse((a.time, a.id)));
        found.truncate(limit);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_survive_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let mark = |text: &str, time| Annotation {
            id: 0,
            time,
            time_end: 0,
            tags: vec!["drill".into()],
            text: text.into(),
            dashboard_uid: String::new(),
            panel_id: 0,
        };
        let annotations = Annotations::open(Some(folder.path())).expect("opens");
        assert_eq!(annotations.add(mark("feed dropped", 1_000), 5).expect("adds"), 1);
        assert!(annotations.add(mark(" ", 1_000), 5).is_err());
        drop(annotations);
        let annotations = Annotations::open(Some(folder.path())).expect("opens");
        assert_eq!(annotations.add(mark("breaker tripped", 0), 2_000).expect("adds"), 2);
        let texts = |from, to, tags: &[&str]| -> Vec<String> {
            annotations.find(from, to, tags, 100).into_iter().map(|a| a.text).collect()
        };
        assert_eq!(texts(0, 3_000, &[]), ["breaker tripped", "feed dropped"]);
        assert_eq!(texts(0, 1_500, &["drill"]), ["feed dropped"]);
        assert!(texts(0, 3_000, &["other"]).is_empty());
    }
}
