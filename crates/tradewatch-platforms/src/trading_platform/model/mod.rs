//! The alpha model: a ridge regression of the next return on a symbol's recent quotes, and its file.
//!
//! A model file has two parts. The first line names the format and the SHA-256 of everything after it; the
//! rest is one JSON document with the version, the input schema, the hold-out score and the coefficients.
//! So a file is either whole and as trained, or refused: see [`Model::load`].

pub mod features;
pub mod train;

pub use train::train;

use features::FEATURES;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::Path;

/// First word of a model file.
const FORMAT: &str = "tradewatch-model/1";
/// Largest model file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The strategy that the platform trades.
pub const STRATEGY: &str = "alpha_baseline";

/// The models that come with the platform: version and the seed of the history that each was trained on.
pub const TRAINED: [(u32, u64); 2] = [(1, 20_251_020), (2, 20_251_103)];

/// The file of a model that comes with the platform, as `tradewatch model train` wrote it.
pub fn shipped(version: u32) -> Option<&'static str> {
    match version {
        1 => Some(include_str!("../../../../../platforms/trading-platform/models/alpha_baseline-v1.model")),
        2 => Some(include_str!("../../../../../platforms/trading-platform/models/alpha_baseline-v2.model")),
        _ => None,
    }
}

/// How well a model did on rows that it was not trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Holdout {
    /// Share of rows whose direction was predicted right.
    pub score_ratio: f64,
    /// Share of rows that always saying the commoner direction gets right.
    pub base_ratio: f64,
    /// Rows.
    pub rows: usize,
}

/// One input of a model and how it is scaled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// One of [`FEATURES`].
    pub name: String,
    /// Subtracted first.
    pub mean: f64,
    /// Then divided by.
    pub scale: f64,
    /// Then multiplied by.
    pub coefficient: f64,
}

/// A trained model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Which strategy it serves.
    pub strategy: String,
    /// 1, 2, …
    pub version: u32,
    /// Seed of the history that it was trained on.
    pub seed: u64,
    /// Rows that it was trained on.
    pub rows: usize,
    /// What it predicts.
    pub target: String,
    /// Score on the rows held out.
    pub holdout: Holdout,
    /// Prediction where every input is at its mean, in basis points.
    pub intercept: f64,
    /// The input schema, in order.
    pub inputs: Vec<Input>,
}

/// Why a model file was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no such file.
    #[error("model {path} is missing")]
    Missing {
        /// Where it was looked for.
        path: String,
    },
    /// There is something, but it cannot be read.
    #[error("model {path} cannot be read: {why}")]
    Unreadable {
        /// Where.
        path: String,
        /// What the operating system said.
        why: String,
    },
    /// It was read and is not a model that this service may use.
    #[error("model {path} is refused: {why}")]
    Refused {
        /// Where.
        path: String,
        /// What is wrong with it, with the values met.
        why: String,
    },
}

impl LoadError {
    /// Whether the file was there and wrong, rather than not there or not readable.
    pub fn is_refused(&self) -> bool {
        matches!(self, LoadError::Refused { .. })
    }

    /// Whether there is no file.
    pub fn is_missing(&self) -> bool {
        matches!(self, LoadError::Missing { .. })
    }
}

impl Model {
    /// `v1`, `v2`, …
    pub fn version_name(&self) -> String {
        format!("v{}", self.version)
    }

    /// `v1.0.0`, …: the form in which the registry names versions.
    pub fn semantic_version(&self) -> String {
        format!("v{}.0.0", self.version)
    }

    /// Predicts the return over the next steps in basis points, from features in the order of [`FEATURES`].
    pub fn predict(&self, features: &[f64; FEATURES.len()]) -> f64 {
        let mut sum = self.intercept;
        for input in &self.inputs {
            let at =
                FEATURES.iter().position(|name| *name == input.name).expect("checked when it was loaded");
            sum += (features[at] - input.mean) / input.scale * input.coefficient;
        }
        sum
    }

    /// The file's bytes.
    pub fn to_file(&self) -> String {
        let body = serde_json::to_string_pretty(self).expect("plain data") + "\n";
        format!("{FORMAT} sha256={}\n{body}", checksum(body.as_bytes()))
    }

    /// Reads a file's bytes.
    ///
    /// # Errors
    /// A sentence on the first thing that is wrong: format, checksum, document, schema or numbers.
    pub fn from_file(bytes: &[u8]) -> Result<Model, String> {
        let text = std::str::from_utf8(bytes).map_err(|error| format!("not UTF-8 text: {error}"))?;
        let (header, body) = text.split_once('\n').ok_or("no header line")?;
        let declared = header
            .strip_prefix(FORMAT)
            .and_then(|rest| rest.trim().strip_prefix("sha256="))
            .ok_or_else(|| format!("header is {:?}, not {FORMAT:?} with a checksum", clip(header)))?;
        let found = checksum(body.as_bytes());
        if declared != found {
            return Err(format!(
                "checksum of the content is {found}, the header declares {}",
                clip(declared)
            ));
        }
        let model: Model =
            serde_json::from_str(body).map_err(|error| format!("line {}: {error}", error.line() + 1))?;
        model.check_schema()?;
        Ok(model)
    }

    /// Reads and checks the file at `path`; gives the checksum of the whole file as well.
    ///
    /// # Errors
    /// Missing, unreadable or refused.
    pub fn load(path: &Path) -> Result<(Model, String), LoadError> {
        let name = path.display().to_string();
        let unreadable = |why: String| LoadError::Unreadable { path: name.clone(), why };
        let bytes = match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(LoadError::Missing { path: name });
            }
            Err(error) => return Err(unreadable(error.to_string())),
            Ok(meta) if !meta.is_file() => return Err(unreadable("it is not a file".into())),
            Ok(meta) if meta.len() > FILE_BYTES_MAX => {
                let why = format!("{} bytes, at most {FILE_BYTES_MAX} are read", meta.len());
                return Err(LoadError::Refused { path: name, why });
            }
            Ok(_) => std::fs::read(path).map_err(|error| unreadable(error.to_string()))?,
        };
        match Model::from_file(&bytes) {
            Ok(model) => Ok((model, checksum(&bytes))),
            Err(why) => Err(LoadError::Refused { path: name, why }),
        }
    }

    fn check_schema(&self) -> Result<(), String> {
        if self.strategy != STRATEGY {
            return Err(format!(
                "it is for strategy {:?}, this service runs {STRATEGY:?}",
                clip(&self.strategy)
            ));
        }
        if self.inputs.is_empty() {
            return Err("its schema has no inputs".into());
        }
        for (at, input) in self.inputs.iter().enumerate() {
            if !FEATURES.contains(&input.name.as_str()) {
                let known = FEATURES.join(", ");
                return Err(format!(
                    "its schema wants {:?}, which this service does not have (it has {known})",
                    clip(&input.name)
                ));
            }
            if self.inputs[..at].iter().any(|other| other.name == input.name) {
                return Err(format!("its schema has {:?} twice", input.name));
            }
            let numbers = [input.mean, input.scale, input.coefficient];
            if numbers.iter().any(|number| !number.is_finite()) || input.scale <= 0.0 {
                return Err(format!("input {:?} has mean, scale, coefficient {numbers:?}", input.name));
            }
        }
        if !self.intercept.is_finite() {
            return Err(format!("its intercept is {}", self.intercept));
        }
        Ok(())
    }
}

/// SHA-256 in hexadecimal.
pub fn checksum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Model {
        Model {
            strategy: STRATEGY.into(),
            version: 1,
            seed: 1,
            rows: 10,
            target: "return_next_5_bps".into(),
            holdout: Holdout { score_ratio: 0.6, base_ratio: 0.5, rows: 5 },
            intercept: 1.0,
            inputs: vec![Input { name: "return_5_bps".into(), mean: 1.0, scale: 2.0, coefficient: -3.0 }],
        }
    }

    #[test]
    fn training_again_gives_the_shipped_files() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../platforms/trading-platform/models");
        for (version, seed) in TRAINED {
            let file = train(version, seed).to_file();
            // UPDATE_EXPECT=1 writes them anew.
            expect_test::expect_file![format!("{folder}/alpha_baseline-v{version}.model")].assert_eq(&file);
            let shipped = Model::from_file(shipped(version).expect("shipped").as_bytes()).expect("whole");
            assert_eq!(shipped.version, version);
            assert!(shipped.holdout.score_ratio > shipped.holdout.base_ratio, "{:?}", shipped.holdout);
        }
        assert_eq!(shipped(3), None);
    }

    #[test]
    fn a_file_reads_back() {
        let file = model().to_file();
        assert_eq!(Model::from_file(file.as_bytes()).expect("just written"), model());
        assert_eq!(model().predict(&[0.0, 5.0, 0.0, 0.0, 0.0, 0.0]), 1.0 - 6.0);
    }

    #[test]
    fn every_damage_is_told_apart() {
        let signed = |body: &str| format!("{FORMAT} sha256={}\n{body}", checksum(body.as_bytes()));
        let body = |change: fn(&mut Model)| {
            let mut model = model();
            change(&mut model);
            model.to_file()
        };
        let cases: [(String, &str); 9] = [
            (String::new(), "no header line"),
            ("<html>\n</html>".into(), "header is \"<html>\""),
            (model().to_file().replace("-3.0", "-4.0"), "checksum of the content is"),
            (model().to_file() + " ", "checksum of the content is"),
            (signed("{\"strategy\": 1}"), "line 2"),
            (body(|m| m.strategy = "other".into()), "it is for strategy \"other\""),
            (body(|m| m.inputs[0].name = "sentiment".into()), "its schema wants \"sentiment\""),
            (body(|m| m.inputs.push(m.inputs[0].clone())), "twice"),
            (body(|m| m.inputs[0].scale = 0.0), "mean, scale, coefficient"),
        ];
        for (file, expected) in cases {
            let why = Model::from_file(file.as_bytes()).expect_err(expected);
            assert!(why.contains(expected), "{why:?} should say {expected:?}");
        }
    }

    #[test]
    fn missing_unreadable_and_refused_files_differ() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("m.model");
        assert!(Model::load(&path).expect_err("nothing there").is_missing());
        let unreadable = Model::load(dir.path()).expect_err("a folder is no file");
        assert!(!unreadable.is_missing() && !unreadable.is_refused(), "{unreadable}");
        std::fs::write(&path, "x").expect("writable");
        assert!(Model::load(&path).expect_err("not a model").is_refused());
        std::fs::write(&path, model().to_file()).expect("writable");
        assert_eq!(Model::load(&path).expect("a model").0, model());
    }
}
