//! OpenMetrics case folders (`test.json` beside `metrics`) and corpora of expositions.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use tradewatch_metrics::parse;

use super::Report;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Description {
    #[serde(default = "metrics_file")]
    file: String,
    should_parse: bool,
}

fn metrics_file() -> String {
    "metrics".into()
}

/// Whether a folder is a case.
pub fn is_case(folder: &Path) -> bool {
    folder.join("test.json").is_file()
}

/// Runs the case of a folder.
pub fn case(folder: &Path) -> Result<Report> {
    let mut report = Report::default();
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let path = folder.join("test.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let description: Description = match serde_json::from_str(&text) {
        Ok(description) => description,
        Err(error) => {
            report.fail(name, format!("test.json: {error}"));
            return Ok(report);
        }
    };
    let path = folder.join(&description.file);
    let body = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let result = match (entries(parse::openmetrics(&body)), description.should_parse) {
        (Ok(_), true) | (Err(_), false) => Ok(()),
        (Ok(count), false) => Err(format!("expected an error\ngot {count} entries")),
        (Err(error), true) => Err(format!("expected an exposition\ngot {error}")),
    };
    report.add(name, result);
    Ok(report)
}

/// Reads every entry; how many there are.
fn entries(mut parser: parse::Parser<'_>) -> Result<usize, String> {
    let mut count = 0;
    while let Some(entry) = parser.next() {
        entry.map_err(|error| error.to_string())?;
        count += 1;
    }
    Ok(count)
}

/// A whole exposition has to be readable in its format.
pub fn corpus(body: &[u8]) -> Report {
    let mut report = Report::default();
    let openmetrics = body.trim_ascii_end().ends_with(b"# EOF");
    let result = if openmetrics {
        entries(parse::openmetrics(body)).or_else(|strict| {
            entries(parse::openmetrics_lenient(body))
                .map_err(|lenient| format!("{strict}\nleniently: {lenient}"))
        })
    } else {
        entries(parse::text(body))
    };
    let result = match result {
        Ok(0) => Err("expected an exposition\ngot nothing".to_string()),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("expected an exposition\ngot {error}")),
    };
    report.add(if openmetrics { "OpenMetrics corpus" } else { "text corpus" }, result);
    report
}

/// Whether a line could be a sample.
pub fn is_sample(line: &str) -> bool {
    matches!(entries(parse::text(format!("{line}\n").as_bytes())), Ok(count) if count > 0)
}
