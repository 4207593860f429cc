//! From TOML, with the place of whatever is wrong.

use std::collections::HashMap;

use serde::Deserialize;
use toml::Spanned;
use tradewatch_metrics::{SCHEMA_MAX, SCHEMA_MIN, valid_metric_name};

use crate::error::Error;
use crate::nearest::nearest;
use crate::spec::{Catalog, Kind, LabelSpec, MetricSpec};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    platform: Spanned<String>,
    title: String,
    seed_claim: Option<u32>,
    #[serde(default, rename = "metric")]
    metrics: Vec<Metric>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metric {
    name: Spanned<String>,
    #[serde(rename = "type")]
    kind: Spanned<String>,
    #[serde(default)]
    unit: String,
    help: Spanned<String>,
    #[serde(default)]
    labels: Vec<Label>,
    #[serde(default = "nothing")]
    buckets: Spanned<Vec<f64>>,
    #[serde(default = "nothing")]
    quantiles: Spanned<Vec<f64>>,
    native_schema: Option<Spanned<i8>>,
    #[serde(default)]
    service: String,
    port: Option<u16>,
    path: Option<String>,
    source: Option<String>,
    event: Option<String>,
    note: Option<String>,
    legacy_name: Option<String>,
    #[serde(default)]
    optional: bool,
    in_seed: Option<bool>,
    in_origin: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Label {
    name: Spanned<String>,
    #[serde(default = "nothing")]
    values: Spanned<Vec<String>>,
    budget: Option<usize>,
}

/// A list that is not written has no place; nothing is ever wrong with it.
fn nothing<T>() -> Spanned<Vec<T>> {
    Spanned::new(0..0, Vec::new())
}

impl Catalog {
    /// Reads a catalogue. `file` is the name that errors show.
    ///
    /// # Errors
    /// The first thing that is wrong, with file, line and column: no TOML, a field that is not known, a name
    /// twice, edges that do not ascend.
    pub fn parse(file: &str, text: &str) -> Result<Catalog, Error> {
        let reader = Reader { file, text };
        let raw: File = toml::from_str(text).map_err(|error| reader.syntax(&error))?;
        if raw.platform.get_ref().is_empty() {
            return Err(reader.error(&raw.platform, "the platform has no name".to_owned()));
        }
        let mut metrics = Vec::with_capacity(raw.metrics.len());
        let mut exposed: HashMap<String, String> = HashMap::new();
        for metric in raw.metrics {
            let at = metric.name.span();
            let spec = reader.metric(metric)?;
            for series in spec.series_names() {
                if let Some(owner) = exposed.insert(series.clone(), spec.name.clone()) {
                    let message =
                        format!("metric {} exposes {series}, which metric {owner} exposes too", spec.name);
                    return Err(Error::at(file, text, at.start, message, false));
                }
            }
            metrics.push(spec);
        }
        Ok(Catalog {
            platform: raw.platform.into_inner(),
            title: raw.title,
            seed_claim: raw.seed_claim,
            metrics,
        })
    }
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
}

impl Reader<'_> {
    fn syntax(&self, error: &toml::de::Error) -> Error {
        let offset = error.span().map_or(0, |span| span.start);
        Error::at(self.file, self.text, offset, error.message().to_owned(), true)
    }

    fn error<T>(&self, at: &Spanned<T>, message: String) -> Error {
        Error::at(self.file, self.text, at.span().start, message, false)
    }

    fn metric(&self, metric: Metric) -> Result<MetricSpec, Error> {
        let name = metric.name.get_ref();
        if !valid_metric_name(name) {
            let message = format!("metric {name:?}: a name is [a-zA-Z_:][a-zA-Z0-9_:]*");
            return Err(self.error(&metric.name, message));
        }
        if metric.help.get_ref().trim().is_empty() {
            return Err(self.error(&metric.help, format!("metric {name}: say in help what it tells")));
        }
        let kind = self.kind(name, &metric.kind)?;
        self.buckets(name, kind, &metric.buckets)?;
        self.quantiles(name, kind, &metric.quantiles)?;
        if let Some(schema) = &metric.native_schema {
            self.schema(name, kind, schema)?;
        }
        let mut labels: Vec<LabelSpec> = Vec::with_capacity(metric.labels.len());
        for label in metric.labels {
            let label = self.label(name, kind, &labels, label)?;
            labels.push(label);
        }
        Ok(MetricSpec {
            name: metric.name.into_inner(),
            kind,
            unit: metric.unit,
            help: metric.help.into_inner(),
            labels,
            buckets: metric.buckets.into_inner(),
            quantiles: metric.quantiles.into_inner(),
            native_schema: metric.native_schema.map(Spanned::into_inner),
            service: metric.service,
            port: metric.port,
            path: metric.path,
            source: metric.source,
            event: metric.event,
            note: metric.note,
            legacy_name: metric.legacy_name,
            optional: metric.optional,
            in_seed: metric.in_seed,
            in_origin: metric.in_origin,
        })
    }

    fn kind(&self, name: &str, kind: &Spanned<String>) -> Result<Kind, Error> {
        let word = kind.get_ref();
        if let Some((kind, _)) = Kind::ALL.iter().find(|(_, known)| known == word) {
            return Ok(*kind);
        }
        let words = Kind::ALL.map(|(_, word)| word);
        let hint = nearest(word, words).map(|near| format!(", did you mean {near}?")).unwrap_or_default();
        let message = format!("metric {name}: type {word:?} is none of {}{hint}", words.join(", "));
        Err(self.error(kind, message))
    }

    fn buckets(&self, name: &str, kind: Kind, buckets: &Spanned<Vec<f64>>) -> Result<(), Error> {
        let edges = buckets.get_ref();
        if kind != Kind::Histogram && !edges.is_empty() {
            return Err(self.error(buckets, format!("metric {name}: a {kind} has no buckets")));
        }
        if let Some(edge) = edges.iter().find(|edge| !edge.is_finite()) {
            return Err(self.error(
                buckets,
                format!("metric {name}: edge {edge} is not finite; +Inf goes without saying"),
            ));
        }
        if let Some(pair) = edges.windows(2).find(|pair| pair[0] >= pair[1]) {
            let message = format!("metric {name}: edges ascend; {} comes before {}", pair[0], pair[1]);
            return Err(self.error(buckets, message));
        }
        Ok(())
    }

    fn quantiles(&self, name: &str, kind: Kind, quantiles: &Spanned<Vec<f64>>) -> Result<(), Error> {
        let list = quantiles.get_ref();
        if kind != Kind::Summary && !list.is_empty() {
            return Err(self.error(quantiles, format!("metric {name}: a {kind} has no quantiles")));
        }
        if let Some(quantile) = list.iter().find(|quantile| !(0.0..=1.0).contains(*quantile)) {
            let message = format!("metric {name}: quantile {quantile} is not between 0 and 1");
            return Err(self.error(quantiles, message));
        }
        if let Some(pair) = list.windows(2).find(|pair| pair[0] >= pair[1]) {
            let message = format!("metric {name}: quantiles ascend; {} comes before {}", pair[0], pair[1]);
            return Err(self.error(quantiles, message));
        }
        Ok(())
    }

    fn schema(&self, name: &str, kind: Kind, schema: &Spanned<i8>) -> Result<(), Error> {
        if kind != Kind::Histogram {
            return Err(self.error(schema, format!("metric {name}: a {kind} has no native buckets")));
        }
        if !(SCHEMA_MIN..=SCHEMA_MAX).contains(schema.get_ref()) {
            let message = format!("metric {name}: a schema is from {SCHEMA_MIN} to {SCHEMA_MAX}");
            return Err(self.error(schema, message));
        }
        Ok(())
    }

    fn label(
        &self,
        metric: &str,
        kind: Kind,
        earlier: &[LabelSpec],
        label: Label,
    ) -> Result<LabelSpec, Error> {
        let name = label.name.get_ref();
        let say = |message: String| Err(self.error(&label.name, format!("metric {metric}: {message}")));
        if !valid_metric_name(name) || name.contains(':') || name.starts_with("__") {
            return say(format!("label {name:?}: a name is [a-zA-Z_][a-zA-Z0-9_]*, not __…"));
        }
        if matches!((kind, name.as_str()), (Kind::Histogram, "le") | (Kind::Summary, "quantile")) {
            return say(format!("label {name} goes without saying in a {kind}"));
        }
        if earlier.iter().any(|known| known.name == *name) {
            return say(format!("label {name} is there twice"));
        }
        let values = label.values.get_ref();
        if let Some(at) = (1..values.len()).find(|at| values[..*at].contains(&values[*at])) {
            let message = format!("metric {metric}: label {name} has the value {:?} twice", values[at]);
            return Err(self.error(&label.values, message));
        }
        if label.budget.is_some_and(|budget| budget < values.len()) {
            return say(format!("label {name} has more values than its budget"));
        }
        Ok(LabelSpec {
            name: label.name.into_inner(),
            values: label.values.into_inner(),
            budget: label.budget,
        })
    }
}
