//! Families that are read at each scrape from something that keeps its own numbers: the kernel, an async runtime,
//! another metrics library.

use std::collections::HashSet;

use crate::descriptor::{Descriptor, MetricKind};
use crate::encode::{self, Buckets, Le, Line, Names, Number, Page, proto};

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
    text: Vec<u8>,
    /// The same in protobuf.
    proto: Vec<u8>,
    value: Value,
}

enum Value {
    Number(f64),
    Histogram { les: Vec<Le>, counts: Vec<u64>, sum: f64 },
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

    pub(crate) fn encode(mut self, taken: &HashSet<String>, page: &mut Page<'_>) {
        self.families.sort_by(|a, b| a.descriptor.name.cmp(&b.descriptor.name));
        for family in &self.families {
            if !taken.contains(&family.descriptor.name) {
                family.encode(page);
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
        let labelled = labels.iter().any(|(_, value)| !value.is_empty());
        let value = Value::Histogram { les: Le::all(labelled, edges), counts: counts.to_vec(), sum };
        self.push(labels, value)
    }

    fn push(&mut self, labels: &[(&str, &str)], value: Value) -> &mut Self {
        let labels = || labels.iter().copied().filter(|(_, value)| !value.is_empty());
        let (mut text, mut message) = (Vec::new(), Vec::new());
        let braces = matches!(value, Value::Number(_));
        let labelled = labels().next().is_some();
        if braces && labelled {
            text.push(b'{');
        }
        encode::write_labels(&mut text, labels());
        if braces {
            text.extend_from_slice(if labelled { b"} " } else { b" " });
        }
        labels().for_each(|(name, value)| proto::label(&mut message, name, value));
        self.0.samples.push(Sample { text, proto: message, value });
        self
    }
}

impl Family {
    fn encode(&self, page: &mut Page<'_>) {
        let names = Names::of(&self.descriptor);
        let family = page.begin(&names);
        for sample in &self.samples {
            let line = Line { slot: 0, index: 0, born: 0, block: &sample.text, proto: &sample.proto };
            match &sample.value {
                Value::Number(value) if self.descriptor.kind == MetricKind::Counter => {
                    // A counter that is whole is written as one, whatever its size.
                    let whole = *value == value.trunc() && (0.0..1.8e19).contains(value);
                    let number = if whole { Number::Whole(*value as u64) } else { Number::Fraction(*value) };
                    page.counter(&names, &line, number, 0, None);
                }
                Value::Number(value) => page.gauge(&names, &line, *value),
                Value::Histogram { les, counts, sum } => {
                    let (sum, created, exemplars) = (*sum, 0, &[][..]);
                    page.histogram(&names, &line, &Buckets { les, counts, sum, created, exemplars });
                }
            }
        }
        page.end(family);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Format, Registry};
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
        let mut out = Vec::new();
        registry.encode(Format::Protobuf, &mut out);
        let names: Vec<_> = crate::parse::protobuf(&out)
            .map(|family| family.map(|family| (family.name, family.metrics().filter_map(Result::ok).count())))
            .collect::<Result<_, _>>()
            .expect("families");
        assert_eq!(names, [("cpu_seconds_total", 2), ("wait_seconds", 1)]);
    }
}
