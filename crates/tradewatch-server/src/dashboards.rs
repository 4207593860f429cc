//! Dashboard files: found in their folders, read again when they change, served as they stand on disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use serde::Serialize;

use crate::error::Error;

/// Biggest dashboard file.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Most files per folder.
const FILES_MAX: usize = 1_000;

/// A folder of dashboards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// The platform they show.
    pub platform: String,
    /// Where they are.
    pub path: PathBuf,
}

impl Folder {
    /// The folder of `platforms/<name>/dashboards`: its platform is `<name>`.
    pub fn of(path: impl Into<PathBuf>) -> Folder {
        let path = path.into();
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let platform = match name(&path).as_deref() {
            Some("dashboards") => path.parent().and_then(name),
            _ => name(&path),
        };
        Folder { platform: platform.unwrap_or_default(), path }
    }
}

/// What the list of dashboards says about one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Its `uid`; the file name where the file gives none.
    pub uid: String,
    /// Its title.
    pub title: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its file.
    pub file: String,
    /// The platform it shows.
    pub platform: String,
    /// Why it cannot be shown, if it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

struct Entry {
    stamp: (SystemTime, u64),
    summary: Summary,
    text: Arc<str>,
}

/// All dashboards of some folders.
pub struct Dashboards {
    folders: Vec<Folder>,
    entries: Mutex<BTreeMap<PathBuf, Entry>>,
}

impl Dashboards {
    /// Reads `folders` once; [`Dashboards::refresh`] sees what changes.
    pub fn new(folders: Vec<Folder>) -> Dashboards {
        let dashboards = Dashboards { folders, entries: Mutex::default() };
        dashboards.refresh();
        dashboards
    }

    /// Reads what changed on disk; whether anything did.
    ///
    /// # Cost
    /// One `stat` per file while nothing changes.
    pub fn refresh(&self) -> bool {
        let mut entries = self.entries.lock().expect("no panic while dashboards are locked");
        let (mut changed, mut seen) = (false, Vec::new());
        for folder in &self.folders {
            let Ok(files) = std::fs::read_dir(&folder.path) else { continue };
            for file in files.filter_map(Result::ok).take(FILES_MAX) {
                let path = file.path();
                let Ok(meta) = file.metadata() else { continue };
                if path.extension().is_none_or(|ext| ext != "json") || !meta.is_file() {
                    continue;
                }
                let stamp = (meta.modified().unwrap_or(SystemTime::UNIX_EPOCH), meta.len());
                seen.push(path.clone());
                if entries.get(&path).is_some_and(|entry| entry.stamp == stamp) {
                    continue;
                }
                changed = true;
                let entry = read(&path, stamp, &folder.platform);
                entries.insert(path, entry);
            }
        }
        let before = entries.len();
        entries.retain(|path, _| seen.contains(path));
        changed || entries.len() != before
    }

    /// All dashboards, by platform and title.
    pub fn list(&self) -> Vec<Summary> {
        let entries = self.entries.lock().expect("no panic while dashboards are locked");
        let mut list: Vec<Summary> = entries.values().map(|entry| entry.summary.clone()).collect();
        list.sort_by(|a, b| (&a.platform, &a.title, &a.uid).cmp(&(&b.platform, &b.title, &b.uid)));
        list
    }

    /// The JSON of the dashboard `uid`, as it stands on disk.
    ///
    /// # Errors
    /// There is none, or it is no JSON.
    pub fn get(&self, uid: &str) -> Result<Arc<str>, Error> {
        let entries = self.entries.lock().expect("no panic while dashboards are locked");
        let entry = entries
            .values()
            .find(|entry| entry.summary.uid == uid)
            .ok_or_else(|| Error::not_found(format!("there is no dashboard {uid:?}")))?;
        match &entry.summary.error {
            Some(error) => Err(Error::query(error.clone())),
            None => Ok(entry.text.clone()),
        }
    }
}

fn read(path: &Path, stamp: (SystemTime, u64), platform: &str) -> Entry {
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let mut summary = Summary {
        uid: name.clone(),
        title: name,
        tags: Vec::new(),
        file: path.display().to_string(),
        platform: platform.to_owned(),
        error: None,
    };
    let text = if stamp.1 > FILE_BYTES_MAX {
        Err(format!("{} bytes are more than the {FILE_BYTES_MAX} that are read", stamp.1))
    } else {
        std::fs::read_to_string(path).map_err(|error| error.to_string())
    };
    let text = text.and_then(|text| {
        let json: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let Some(object) = json.as_object() else { return Err("a dashboard is a JSON object".to_owned()) };
        let field = |key: &str| object.get(key).and_then(|v| v.as_str()).filter(|v| !v.is_empty());
        if let Some(uid) = field("uid") {
            summary.uid = uid.to_owned();
        }
        if let Some(title) = field("title") {
            summary.title = title.to_owned();
        }
        if let Some(tags) = object.get("tags").and_then(|v| v.as_array()) {
            summary.tags = tags.iter().filter_map(|tag| tag.as_str().map(str::to_owned)).collect();
        }
        Ok(text)
    });
    let text: Arc<str> = match text {
        Ok(text) => text.into(),
        Err(error) => {
            summary.error = Some(format!("{}: {error}", path.display()));
            "".into()
        }
    };
    Entry { stamp, summary, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_and_changes_are_seen() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("acme").join("dashboards");
        std::fs::create_dir_all(&folder).expect("creates");
        std::fs::write(folder.join("a.json"), r#"{"uid":"over","title":"Overview","tags":["x"]}"#)
            .expect("writes");
        std::fs::write(folder.join("b.json"), "{").expect("writes");
        let dashboards = Dashboards::new(vec![Folder::of(&folder)]);
        let list = dashboards.list();
        assert_eq!(list.len(), 2);
        assert_eq!((list[0].uid.as_str(), list[0].platform.as_str()), ("over", "acme"));
        assert!(
            list[1].error.as_deref().is_some_and(|e| e.contains("b.json") && e.contains("line 1")),
            "{list:?}"
        );
        assert!(dashboards.get("over").is_ok() && dashboards.get("nope").is_err_and(|e| e.is_not_found()));
        assert!(!dashboards.refresh(), "nothing changed");
        std::fs::write(folder.join("b.json"), r#"{"title":"B"}"#).expect("writes");
        assert!(dashboards.refresh());
        assert_eq!(dashboards.list()[0].title, "B");
        std::fs::remove_file(folder.join("b.json")).expect("removes");
        assert!(dashboards.refresh());
        assert_eq!(dashboards.list().len(), 1);
    }
}
