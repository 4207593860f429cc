//! What OpenMetrics asks of the lines together: families and groups in one piece, names that do not clash,
//! histograms that are complete.

use std::collections::{HashMap, HashSet};

use super::lexer::parse_number;
use super::{EXEMPLAR_CHARS_MAX, FamilyKind, LabelPair, Line, RawPoint};

type Key = Vec<(String, String)>;

/// The state of the checks between two lines. Errors are messages; the parser adds the place.
#[derive(Default)]
pub(super) struct Strict {
    /// Every name taken, and the family that took it.
    taken: HashMap<String, String>,
    family: Option<Family>,
}

#[derive(Default)]
struct Family {
    name: String,
    kind: Option<FamilyKind>,
    help: bool,
    unit: Option<String>,
    has_samples: bool,
    /// The groups (the metrics, in OpenMetrics' words) whose samples have been seen.
    groups: HashSet<Key>,
    group: Option<Group>,
}

/// One metric of a family: the samples that differ in `le`, `quantile`, state or suffix only.
struct Group {
    key: Key,
    timestamp: Option<f64>,
    /// The samples seen at this timestamp.
    seen: HashSet<(String, String)>,
    buckets: Buckets,
}

#[derive(Default)]
struct Buckets {
    last: Option<(f64, f64)>,
    negative: bool,
    infinite: Option<f64>,
    count: Option<f64>,
    sum: Option<f64>,
}

impl Strict {
    pub(super) fn line(
        &mut self,
        line: &Line<'_>,
        labels: &[LabelPair<'_>],
        exemplar: &[LabelPair<'_>],
    ) -> Result<(), String> {
        match line {
            Line::Help(name, _) => {
                let family = self.metadata(name)?;
                if std::mem::replace(&mut family.help, true) {
                    return Err(format!("a second HELP for {name}"));
                }
            }
            Line::Type(name, kind) => {
                let family = self.metadata(name)?;
                if family.kind.replace(*kind).is_some() {
                    return Err(format!("a second TYPE for {name}"));
                }
                check_unit(family)?;
                self.take_names()?;
            }
            Line::Unit(name, unit) => {
                let family = self.metadata(name)?;
                if family.unit.replace((*unit).to_owned()).is_some() {
                    return Err(format!("a second UNIT for {name}"));
                }
                check_unit(family)?;
            }
            Line::Sample { name, point, .. } => self.sample(name, labels, exemplar, *point)?,
        }
        Ok(())
    }

    pub(super) fn end(&mut self) -> Result<(), String> {
        self.close()
    }

    /// The family that a metadata line is about, opened if it is a new one.
    fn metadata(&mut self, name: &str) -> Result<&mut Family, String> {
        if self.family.as_ref().is_none_or(|family| family.name != name) {
            self.open(name)?;
        }
        let family = self.family.as_mut().expect("opened above");
        if family.has_samples {
            return Err(format!("metadata of {name} after its samples"));
        }
        Ok(family)
    }

    fn open(&mut self, name: &str) -> Result<(), String> {
        self.close()?;
        if let Some(owner) = self.taken.get(name) {
            return Err(match owner == name {
                true => format!("family {name} was left before; its lines must follow each other"),
                false => format!("{name} clashes with a name of family {owner}"),
            });
        }
        self.family = Some(Family { name: name.to_owned(), ..Family::default() });
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        if let Some(family) = &self.family {
            if family.kind.is_none() && !family.has_samples {
                self.take_names()?;
            }
            let family = self.family.as_mut().expect("looked at above");
            family.end_group()?;
        }
        Ok(())
    }

    /// Takes the names of the family's samples, as soon as its kind is known.
    fn take_names(&mut self) -> Result<(), String> {
        let family = self.family.as_ref().expect("called while a family is open");
        let suffixes = family.kind.unwrap_or_default().suffixes();
        for suffix in [""].iter().chain(suffixes) {
            let name = format!("{}{suffix}", family.name);
            match self.taken.insert(name.clone(), family.name.clone()) {
                Some(owner) if owner != family.name => {
                    return Err(format!("{name} of family {} clashes with family {owner}", family.name));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn sample(
        &mut self,
        name: &str,
        labels: &[LabelPair<'_>],
        exemplar: &[LabelPair<'_>],
        point: RawPoint,
    ) -> Result<(), String> {
        let belongs = |family: &Family| {
            let suffixes = family.kind.unwrap_or_default().suffixes();
            name.strip_prefix(family.name.as_str())
                .filter(|suffix| suffixes.contains(suffix))
                .map(str::to_owned)
        };
        let suffix = match self.family.as_ref().and_then(belongs) {
            Some(suffix) => suffix,
            None => {
                self.open(name)?;
                String::new()
            }
        };
        let family = self.family.as_mut().expect("opened above if there was none");
        let first = !std::mem::replace(&mut family.has_samples, true);
        let untyped = family.kind.is_none();
        if first && untyped {
            self.take_names()?;
        }
        let family = self.family.as_mut().expect("as above");
        let kind = family.kind.unwrap_or_default();
        check_value(kind, &suffix, point.value)?;
        check_labels(kind, &suffix, &family.name, labels)?;
        check_exemplar(kind, &suffix, exemplar, point)?;
        family.place(kind, &suffix, labels, point)
    }
}

impl Family {
    /// Puts a sample into its group.
    fn place(
        &mut self,
        kind: FamilyKind,
        suffix: &str,
        labels: &[LabelPair<'_>],
        point: RawPoint,
    ) -> Result<(), String> {
        let inner = inner_label(kind, suffix, &self.name).to_owned();
        let key = group_key(kind, &inner, labels);
        if self.group.as_ref().is_none_or(|group| group.key != key) {
            self.end_group()?;
            if !self.groups.insert(key.clone()) {
                return Err(format!("the samples of one metric of {} must follow each other", self.name));
            }
            let (seen, buckets) = (HashSet::new(), Buckets::default());
            self.group = Some(Group { key, timestamp: point.timestamp, seen, buckets });
        } else {
            self.same_group(kind, point)?;
        }
        let name = self.name.clone();
        let group = self.group.as_mut().expect("made above");
        let value = labels.iter().find(|(label, _)| *label == inner).map_or("", |(_, value)| value.as_ref());
        let fresh = group.seen.insert((suffix.to_owned(), value.to_owned()));
        if !fresh && kind != FamilyKind::Info && point.timestamp.is_none() {
            return Err(format!("a second sample of the same series of {name} without timestamps"));
        }
        if matches!(kind, FamilyKind::Histogram | FamilyKind::GaugeHistogram) && fresh {
            group.buckets.add(suffix, value, point.value)?;
        }
        Ok(())
    }

    /// Checks the order of timestamps in a group, and begins anew at a later one.
    fn same_group(&mut self, kind: FamilyKind, point: RawPoint) -> Result<(), String> {
        let group = self.group.as_ref().expect("the caller compared its key");
        let (before, now) = (group.timestamp, point.timestamp);
        if before.is_some() != now.is_some() {
            return Err(format!(
                "some samples of one metric of {} have timestamps and some have none",
                self.name
            ));
        }
        if kind != FamilyKind::Info && before > now {
            return Err(format!("timestamps of one metric of {} go back", self.name));
        }
        if before != now {
            self.check_histogram()?;
            let group = self.group.as_mut().expect("as above");
            group.timestamp = now;
            group.seen.clear();
            group.buckets = Buckets::default();
        }
        Ok(())
    }

    fn end_group(&mut self) -> Result<(), String> {
        self.check_histogram()?;
        self.group = None;
        Ok(())
    }

    fn check_histogram(&self) -> Result<(), String> {
        let kind = self.kind.unwrap_or_default();
        match &self.group {
            Some(group) if matches!(kind, FamilyKind::Histogram | FamilyKind::GaugeHistogram) => group
                .buckets
                .check(kind)
                .map_err(|message| format!("{} {}: {message}", kind.as_str(), self.name)),
            _ => Ok(()),
        }
    }
}

impl Buckets {
    fn add(&mut self, suffix: &str, le: &str, value: f64) -> Result<(), String> {
        match suffix {
            "_count" | "_gcount" => self.count = Some(value),
            "_sum" | "_gsum" => self.sum = Some(value),
            "_bucket" => {
                let edge = parse_number(le).expect("checked with the labels");
                if let Some((before, count)) = self.last {
                    if before >= edge {
                        return Err(format!("bucket edges ascend; {edge} comes after {before}"));
                    }
                    if count > value {
                        return Err(format!("bucket counts are cumulative; {value} comes after {count}"));
                    }
                }
                self.last = Some((edge, value));
                self.negative |= edge < 0.0;
                if edge == f64::INFINITY {
                    self.infinite = Some(value);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn check(&self, kind: FamilyKind) -> Result<(), String> {
        if self.last.is_none() && self.count.is_none() && self.sum.is_none() {
            return Ok(()); // Only `_created`.
        }
        let Some(infinite) = self.infinite else { return Err("has no bucket with le=\"+Inf\"".to_owned()) };
        if self.count.is_some() != self.sum.is_some() {
            return Err("has one of sum and count without the other".to_owned());
        }
        if self.count.is_some_and(|count| count != infinite) {
            return Err("its count differs from its +Inf bucket".to_owned());
        }
        let sum = self.sum.unwrap_or_default();
        match kind {
            FamilyKind::Histogram if self.negative && self.sum.is_some() => {
                Err("has negative edges and a sum, which then is no counter".to_owned())
            }
            FamilyKind::GaugeHistogram if sum < 0.0 && !self.negative => {
                Err("has a negative sum and no negative edges".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// The label that tells the samples of one group apart.
fn inner_label<'a>(kind: FamilyKind, suffix: &str, family: &'a str) -> &'a str {
    match (kind, suffix) {
        (FamilyKind::Histogram | FamilyKind::GaugeHistogram, "_bucket") => "le",
        (FamilyKind::Summary, "") => "quantile",
        (FamilyKind::StateSet, _) => family,
        _ => "",
    }
}

fn group_key(kind: FamilyKind, inner: &str, labels: &[LabelPair<'_>]) -> Key {
    if kind == FamilyKind::Info {
        return Key::new();
    }
    let outer = labels.iter().filter(|(name, _)| *name != inner);
    let mut key: Key = outer.map(|(name, value)| (name.to_string(), value.to_string())).collect();
    key.sort();
    key
}

fn check_unit(family: &Family) -> Result<(), String> {
    let Some(unit) = family.unit.as_deref().filter(|unit| !unit.is_empty()) else { return Ok(()) };
    if matches!(family.kind, Some(FamilyKind::Info | FamilyKind::StateSet)) {
        return Err(format!("family {} has a unit and is of a kind that has none", family.name));
    }
    let said = family.name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_'));
    if said { Ok(()) } else { Err(format!("family {} does not end in its unit {unit:?}", family.name)) }
}

fn check_value(kind: FamilyKind, suffix: &str, value: f64) -> Result<(), String> {
    let counts = matches!(
        (kind, suffix),
        (FamilyKind::Counter, "_total")
            | (FamilyKind::Histogram, "_bucket" | "_count" | "_sum")
            | (FamilyKind::GaugeHistogram, "_bucket" | "_gcount")
            | (FamilyKind::Summary, "_count" | "_sum")
    );
    if value.is_nan() && (counts || suffix == "_gsum") {
        return Err(format!("a {}'s {suffix} is NaN", kind.as_str()));
    }
    if value < 0.0 && (counts || (kind == FamilyKind::Summary && suffix.is_empty())) {
        return Err(format!("a {}'s sample is negative: {value}", kind.as_str()));
    }
    match kind {
        FamilyKind::StateSet if value != 0.0 && value != 1.0 => {
            Err(format!("a state is 0 or 1, not {value}"))
        }
        FamilyKind::Info if value != 1.0 => Err(format!("an info is 1, not {value}")),
        _ => Ok(()),
    }
}

fn check_labels(
    kind: FamilyKind,
    suffix: &str,
    family: &str,
    labels: &[LabelPair<'_>],
) -> Result<(), String> {
    let inner = inner_label(kind, suffix, family);
    if inner.is_empty() {
        return Ok(());
    }
    let Some((_, value)) = labels.iter().find(|(name, _)| *name == inner) else {
        return Err(format!("a {} sample without its label {inner}", kind.as_str()));
    };
    let number = parse_number(value).filter(|number| !number.is_nan());
    match (inner, number) {
        ("le", Some(number)) if kind != FamilyKind::StateSet => {
            // A bucket is found by the text of its edge, so the infinite one is spelt in one way only.
            if number == f64::INFINITY && value != "+Inf" {
                return Err(format!("the infinite edge is written +Inf, not {value}"));
            }
            Ok(())
        }
        ("quantile", Some(number)) if (0.0..=1.0).contains(&number) => Ok(()),
        _ if kind == FamilyKind::StateSet => Ok(()),
        _ => Err(format!("label {inner} is {value:?}, which is no {inner}")),
    }
}

fn check_exemplar(
    kind: FamilyKind,
    suffix: &str,
    labels: &[LabelPair<'_>],
    point: RawPoint,
) -> Result<(), String> {
    if point.exemplar.is_none() {
        return Ok(());
    }
    let allowed = matches!(
        (kind, suffix),
        (FamilyKind::Counter, "_total") | (FamilyKind::Histogram | FamilyKind::GaugeHistogram, "_bucket")
    );
    if !allowed {
        return Err("only a counter's _total and a histogram's _bucket have exemplars".to_owned());
    }
    let chars: usize = labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
    if chars > EXEMPLAR_CHARS_MAX {
        return Err(format!("an exemplar's labels have {chars} characters, more than {EXEMPLAR_CHARS_MAX}"));
    }
    Ok(())
}
