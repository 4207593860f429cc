//! Families that are read at each scrape from something that keeps its own numbers: the kernel, an async runtime,
//! another metrics library.

use std::collections::HashSet;

use crate::descriptor::{Descriptor, MetricKind};
use crate::encode::{self, Format, Names};

/// A source of families that are not kept in instruments; see [`Registry::add_collector`](crate::Registry::add_collector).
pub trait Collector: Send + Sync + 'static {
    /// The families it gives, as far as they are known at the start: their names are taken from then on.
    fn families(&self) -> Vec<Descriptor>;

    /// Writes the present values. Called once a scrape, on the scraper's thread: it must not wait for anything.
    fn collect(&self, out: &mut Collected);
}

/// What the collectors of a registry gave in one scrape.
#[derive(Default)]
pub struct Collected {
    families: Vec<Family>,
}

struct Family {
    descriptor: Descriptor,
    samples: Vec<Sample>,
}

struct Sample {
    /// `a="b",c="d"`, escaped.
    labels: Vec<u8>,
    value: Value,
}

enum Value {
    Number(f64),
    Histogram { edges: Vec<f64>, counts: Vec<u64>, sum: f64 },
}

/// The samples of one family; see [`Collected::family`].
pub struct CollectedFamily<'a>(&'a mut Family);

impl Collected {
    /// Begins a family, or goes on with the one of this name.
    ///
    /// A family whose name a registered instrument or an earlier collector has taken is left out.
    pub fn family(&mut self, descriptor: &Descriptor) -> CollectedFamily<'_> {
        let known = self.families.iter().position(|family| family.descriptor.name == descriptor.name);
        let at = known.unwrap_or_else(|| {
            self.families.push(Family { descriptor: descriptor.clone(), samples: Vec::new() });
            self.families.len() - 1
        });
        CollectedFamily(&mut self.families[at])
    }

    pub(crate) fn encode(mut self, taken: &HashSet<String>, format: Format, out: &mut Vec<u8>) {
        self.families.sort_by(|a, b| a.descriptor.name.cmp(&b.descriptor.name));
        for family in &self.families {
            if !taken.contains(&family.descriptor.name) {
                family.encode(format, out);
            }
        }
    }
}

impl CollectedFamily<'_> {
    /// A counter's, gauge's or info's value. The labels' names are valid and differ; an empty value is no label.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Self {
        self.push(labels, Value::Number(value))
    }

    /// A histogram: ascending edges without `+Inf`, and one count more than edges, each of its own bucket only.
    ///
    /// # Panics
    /// If there is not one count more than edges.
    pub fn histogram(
        &mut self,
        labels: &[(&str, &str)],
        edges: &[f64],
        counts: &[u64],
        sum: f64,
    ) -> &mut Self {
        assert_eq!(counts.len(), edges.len() + 1, "one count for each edge, and one for what is above");
        let value = Value::Histogram { edges: edges.to_vec(), counts: counts.to_vec(), sum };
        self.push(labels, value)
    }

    fn push(&mut self, labels: &[(&str, &str)], value: Value) -> &mut Self {
        let mut text = Vec::new();
        encode::write_labels(&mut text, labels.iter().copied().filter(|(_, value)| !value.is_empty()));
        self.0.samples.push(Sample { labels: text, value });
        self
    }
}

impl Family {
    fn encode(&self, format: Format, out: &mut Vec<u8>) {
        let names = Names::of(&self.descriptor);
        names.header(format, out);
        let name = names.sample(format);
        for sample in &self.samples {
            match &sample.value {
                Value::Number(value) => {
                    line(out, name, b"", &[&sample.labels]);
                    // A counter that is whole is written as one, whatever its size.
                    if self.descriptor.kind == MetricKind::Counter
                        && *value == value.trunc()
                        && *value < 1.8e19
                    {
                        encode::write_u64(out, *value as u64);
                    } else {
                        encode::write_f64(out, *value);
                    }
                    out.push(b'\n');
                }
                Value::Histogram { edges, counts, sum } => {
                    let les = edges.iter().map(|edge| encode::canonical(*edge)).chain(["+Inf".to_owned()]);
                    let mut cumulative = 0u64;
                    for (le, count) in les.zip(counts) {
                        cumulative = cumulative.wrapping_add(*count);
                        line(out, name, b"_bucket", &[&sample.labels, format!("le=\"{le}\"").as_bytes()]);
                        encode::write_u64(out, cumulative);
                        out.push(b'\n');
                    }
                    line(out, name, b"_sum", &[&sample.labels]);
                    encode::write_f64(out, *sum);
                    out.push(b'\n');
                    line(out, name, b"_count", &[&sample.labels]);
                    encode::write_u64(out, cumulative);
                    out.push(b'\n');
                }
            }
        }
    }
}

/// Name, suffix and labels, up to the blank before the value.
fn line(out: &mut Vec<u8>, name: &[u8], suffix: &[u8], labels: &[&[u8]]) {
    out.extend_from_slice(name);
    out.extend_from_slice(suffix);
    let mut open = false;
    for part in labels.iter().filter(|part| !part.is_empty()) {
        out.push(if open { b',' } else { b'{' });
        out.extend_from_slice(part);
        open = true;
    }
    if open {
        out.push(b'}');
    }
    out.push(b' ');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Registry;
    use expect_test::expect;

    struct Fixed;

    impl Collector for Fixed {
        fn families(&self) -> Vec<Descriptor> {
            vec![Descriptor::new("cpu_seconds_total", MetricKind::Counter, "Time.")]
        }

        fn collect(&self, out: &mut Collected) {
            let cpu = Descriptor::new("cpu_seconds_total", MetricKind::Counter, "Time.");
            out.family(&cpu).sample(&[("mode", "user"), ("host", "")], 1.5);
            let wait = Descriptor::new("wait_seconds", MetricKind::Histogram, "Wait.");
            out.family(&wait).histogram(&[("q", "a\"b")], &[0.5, 1.0], &[1, 2, 3], 9.5);
            out.family(&cpu).sample(&[("mode", "system")], 2.0);
        }
    }

    #[test]
    fn collected_families_are_exposed_and_their_names_are_taken() {
        let registry = Registry::new();
        registry.add_collector(Fixed).expect("free");
        assert!(registry.add_collector(Fixed).expect_err("taken").is_duplicate());
        let mut out = Vec::new();
        registry.encode(Format::OpenMetrics1, &mut out);
        expect![[r##"
            # HELP cpu_seconds Time.
            # TYPE cpu_seconds counter
            # UNIT cpu_seconds seconds
            cpu_seconds_total{mode="user"} 1.5
            cpu_seconds_total{mode="system"} 2
            # HELP wait_seconds Wait.
            # TYPE wait_seconds histogram
            # UNIT wait_seconds seconds
            wait_seconds_bucket{q="a\"b",le="0.5"} 1
            wait_seconds_bucket{q="a\"b",le="1.0"} 3
            wait_seconds_bucket{q="a\"b",le="+Inf"} 6
            wait_seconds_sum{q="a\"b"} 9.5
            wait_seconds_count{q="a\"b"} 6
            # EOF
        "##]]
        .assert_eq(&String::from_utf8(out).expect("text"));
    }
}
