//! To TOML, the same text for the same catalogue.

use std::fmt::{self, Display, Write};

use crate::spec::{Catalog, LabelSpec, MetricSpec};

impl Display for Catalog {
    /// The file. It parses back to the same catalogue; comments are not kept.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "platform = {}", Quoted(&self.platform))?;
        writeln!(f, "title = {}", Quoted(&self.title))?;
        if let Some(claim) = self.seed_claim {
            writeln!(f, "seed_claim = {claim}")?;
        }
        self.metrics.iter().try_for_each(|metric| write!(f, "\n{metric}"))
    }
}

impl Display for MetricSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[[metric]]")?;
        writeln!(f, "name = {}", Quoted(&self.name))?;
        writeln!(f, "type = {}", Quoted(self.kind.as_str()))?;
        writeln!(f, "unit = {}", Quoted(&self.unit))?;
        writeln!(f, "help = {}", Quoted(&self.help))?;
        writeln!(f, "labels = [{}]", Listed(&self.labels))?;
        // Debug writes 1.0 where Display writes 1, which TOML would read as a whole number.
        let edges: Vec<String> = self.buckets.iter().map(|edge| format!("{edge:?}")).collect();
        writeln!(f, "buckets = [{}]", edges.join(", "))?;
        if !self.quantiles.is_empty() {
            let quantiles: Vec<String> =
                self.quantiles.iter().map(|quantile| format!("{quantile:?}")).collect();
            writeln!(f, "quantiles = [{}]", quantiles.join(", "))?;
        }
        if let Some(schema) = self.native_schema {
            writeln!(f, "native_schema = {schema}")?;
        }
        writeln!(f, "service = {}", Quoted(&self.service))?;
        if let Some(port) = self.port {
            writeln!(f, "port = {port}")?;
        }
        let texts = [
            ("path", &self.path),
            ("source", &self.source),
            ("event", &self.event),
            ("note", &self.note),
            ("legacy_name", &self.legacy_name),
        ];
        for (field, text) in texts {
            if let Some(text) = text {
                writeln!(f, "{field} = {}", Quoted(text))?;
            }
        }
        for (field, answer) in [("in_seed", self.in_seed), ("in_origin", self.in_origin)] {
            if let Some(answer) = answer {
                writeln!(f, "{field} = {answer}")?;
            }
        }
        if self.optional {
            writeln!(f, "optional = true")?;
        }
        Ok(())
    }
}

impl Display for LabelSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{ name = {}", Quoted(&self.name))?;
        if !self.values.is_empty() {
            let values: Vec<Quoted<'_>> = self.values.iter().map(|value| Quoted(value)).collect();
            write!(f, ", values = [{}]", Listed(&values))?;
        }
        if let Some(budget) = self.budget {
            write!(f, ", budget = {budget}")?;
        }
        f.write_str(" }")
    }
}

struct Listed<'a, T>(&'a [T]);

impl<T: Display> Display for Listed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .enumerate()
            .try_for_each(|(at, item)| write!(f, "{}{item}", if at > 0 { ", " } else { "" }))
    }
}

/// A basic string of TOML.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\t' => f.write_str("\\t")?,
                c if c.is_control() => write!(f, "\\u{:04X}", c as u32)?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}
