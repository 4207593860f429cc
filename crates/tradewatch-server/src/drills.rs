//! What is known of the proof of each alert: when a drill last made it fire, reach somebody and clear.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::jsonl::JsonLines;

/// Proofs that are kept, one for each alert and way; more alerts are refused.
const PROOFS_MAX: usize = 10_000;
/// Lines after which the file is written anew.
const LINES_MAX: usize = 4 * PROOFS_MAX;
/// Proofs that one request may bring.
pub const PROOFS_PER_REQUEST_MAX: usize = 1_000;
const NAME_BYTES_MAX: usize = 256;
const TEXT_BYTES_MAX: usize = 4 << 10;

/// How a drill was run.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// The whole pipeline on virtual time.
    Simulated,
    /// Real processes and real faults.
    Live,
}

/// What one drill showed of one alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// The alert.
    pub alert: String,
    /// The platform that was drilled.
    pub platform: String,
    /// The drill.
    pub drill: String,
    /// How it was run.
    pub way: Way,
    /// When it ended, in milliseconds since the Unix epoch; now where it is 0.
    #[serde(default)]
    pub at: i64,
    /// Whether the alert fired, was told or rightly held back, and cleared.
    pub proven: bool,
    /// What was wrong, if it is not proven.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Seconds from the fault to the notification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_after: Option<f64>,
    /// Seconds from the end of the fault to the notification that it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleared_after: Option<f64>,
    /// The alert that rightly held it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_back_by: Option<String>,
}

/// The last proof of each alert, kept in a file.
#[derive(Debug)]
pub struct Drills(Mutex<State>);

#[derive(Debug)]
struct State {
    file: JsonLines,
    last: BTreeMap<(String, Way), Proof>,
}

impl Drills {
    /// Opens `drills.jsonl` in `data_dir`, or keeps all in memory.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(data_dir: Option<&Path>) -> Result<Drills, Error> {
        let (file, all) = match data_dir {
            None => (JsonLines::in_memory(), Vec::new()),
            Some(folder) => JsonLines::open::<Proof>(&folder.join("drills.jsonl"))?,
        };
        let last = all.into_iter().map(|proof| ((proof.alert.clone(), proof.way), proof)).collect();
        Ok(Drills(Mutex::new(State { file, last })))
    }

    /// Takes the proofs of drills in; each replaces the one before it of the same alert and way.
    ///
    /// # Errors
    /// A name or text that is empty or too long, too many alerts, or a disk that does not take it. Then none is taken.
    pub fn add(&self, mut proofs: Vec<Proof>, now_ms: i64) -> Result<(), Error> {
        if proofs.len() > PROOFS_PER_REQUEST_MAX {
            return Err(Error::query(format!(
                "{} proofs at once are more than {PROOFS_PER_REQUEST_MAX}",
                proofs.len()
            )));
        }
        for proof in &mut proofs {
            for (what, name) in
                [("alert", &proof.alert), ("platform", &proof.platform), ("drill", &proof.drill)]
            {
                if name.is_empty() || name.len() > NAME_BYTES_MAX {
                    return Err(Error::query(format!("{what} {name:?} has not 1 to {NAME_BYTES_MAX} bytes")));
                }
            }
            proof.why.truncate(proof.why.floor_char_boundary(TEXT_BYTES_MAX));
            if proof.at == 0 {
                proof.at = now_ms;
            }
        }
        let mut state = self.0.lock().expect("no panic while drills are locked");
        let new = proofs.iter().filter(|one| !state.last.contains_key(&(one.alert.clone(), one.way))).count();
        if state.last.len() + new > PROOFS_MAX {
            return Err(Error::query(format!("more than {PROOFS_MAX} alerts were drilled")));
        }
        state.file.append_all(&proofs)?;
        state.last.extend(proofs.into_iter().map(|proof| ((proof.alert.clone(), proof.way), proof)));
        if state.file.lines > LINES_MAX {
            let State { file, last } = &mut *state;
            file.rewrite(last.values())?;
        }
        Ok(())
    }

    /// The last proofs of `alert`, or of all alerts: at most one for each way.
    pub fn of(&self, alert: Option<&str>) -> Vec<Proof> {
        let state = self.0.lock().expect("no panic while drills are locked");
        state.last.values().filter(|proof| alert.is_none_or(|alert| proof.alert == alert)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(alert: &str, way: Way, at: i64, proven: bool) -> Proof {
        Proof {
            alert: alert.into(),
            platform: "desk".into(),
            drill: "gateway-killed".into(),
            way,
            at,
            proven,
            why: String::new(),
            told_after: Some(1.0),
            cleared_after: None,
            held_back_by: None,
        }
    }

    #[test]
    fn the_last_proof_of_each_way_outlives_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let drills = Drills::open(Some(folder.path())).expect("opens");
        drills
            .add(vec![proof("Lost", Way::Live, 5, true), proof("Down", Way::Live, 0, true)], 7)
            .expect("adds");
        drills
            .add(vec![proof("Lost", Way::Live, 9, false), proof("Lost", Way::Simulated, 8, true)], 9)
            .expect("adds");
        assert!(
            drills.add(vec![proof("New", Way::Live, 1, true), proof("", Way::Live, 1, true)], 9).is_err()
        );
        drop(drills);
        let drills = Drills::open(Some(folder.path())).expect("opens");
        let seen = |alert| -> Vec<_> {
            drills.of(alert).into_iter().map(|one| (one.way, one.at, one.proven)).collect()
        };
        assert_eq!(seen(Some("Lost")), [(Way::Simulated, 8, true), (Way::Live, 9, false)]);
        assert_eq!(seen(Some("Down")), [(Way::Live, 7, true)]);
        assert_eq!(seen(None).len(), 3, "what was refused left nothing");
    }
}
