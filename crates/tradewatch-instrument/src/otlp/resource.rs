//! Who it is that counts: the resource of OpenTelemetry, and `target_info` for those who scrape.

use std::collections::BTreeMap;

use tradewatch_metrics::{Collected, Collector, Descriptor, MetricKind, RegisterError, Registry};

/// The attributes of a process. Every worker process of a service has an instance id of its own, so that what they
/// count is never taken for one another's.
#[derive(Clone, Debug)]
pub struct Resource {
    attributes: BTreeMap<String, String>,
}

impl Resource {
    /// A service's process: `service.name`, a new `service.instance.id`, and what sends it.
    pub fn new(service: &str) -> Resource {
        let resource = Resource { attributes: BTreeMap::new() };
        resource
            .with("service.name", service)
            .with("service.instance.id", &instance_id())
            .with("telemetry.sdk.name", "tradewatch")
            .with("telemetry.sdk.language", "rust")
            .with("telemetry.sdk.version", env!("CARGO_PKG_VERSION"))
    }

    /// The same with this attribute, in place of one of the same name.
    pub fn with(mut self, name: &str, value: &str) -> Resource {
        self.attributes.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The same with the attributes of a text like that of `OTEL_RESOURCE_ATTRIBUTES`: `k=v,k=v`, values
    /// percent-encoded.
    ///
    /// # Errors
    /// The pair that is none.
    pub fn with_text(mut self, text: &str) -> Result<Resource, String> {
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair
                .split_once('=')
                .filter(|(name, _)| !name.trim().is_empty())
                .ok_or_else(|| format!("resource attribute {pair:?}: write name=value"))?;
            let value = percent_decoded(value.trim()).ok_or_else(|| {
                format!("resource attribute {pair:?}: % is followed by two hexadecimal digits")
            })?;
            self.attributes.insert(name.trim().to_owned(), value);
        }
        Ok(self)
    }

    /// The attributes, by name.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Exposes the attributes as `target_info`, for those who scrape.
    ///
    /// # Errors
    /// If there is such a metric.
    pub fn expose(&self, registry: &Registry) -> Result<(), RegisterError> {
        let mut labels = BTreeMap::<String, String>::new();
        for (name, value) in self.attributes() {
            // Two attributes may become one label; the specification joins their values.
            let label = labels.entry(label_name(name)).or_default();
            *label = if label.is_empty() { value.to_owned() } else { format!("{label};{value}") };
        }
        registry.add_collector(TargetInfo(labels))
    }
}

struct TargetInfo(BTreeMap<String, String>);

/// The family that stands for the resource in a scrape.
pub(super) const TARGET_INFO: &str = "target_info";

impl Collector for TargetInfo {
    fn families(&self) -> Vec<Descriptor> {
        vec![Descriptor::new(TARGET_INFO, MetricKind::Info, "Who it is that counts.")]
    }

    fn collect(&self, out: &mut Collected) {
        let labels: Vec<(&str, &str)> = self.0.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        out.family(&self.families()[0]).sample(&labels, 1.0);
    }
}

/// An attribute's name as a label's: what is not allowed there is `_`.
fn label_name(name: &str) -> String {
    let mut label: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if label.starts_with(|c: char| c.is_ascii_digit()) {
        label.insert_str(0, "key_");
    }
    label
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digits = [bytes.next()?, bytes.next()?];
        out.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    String::from_utf8(out).ok()
}

/// A random UUID.
fn instance_id() -> String {
    if let Ok(uuid) = std::fs::read_to_string("/proc/sys/kernel/random/uuid") {
        return uuid.trim().to_owned();
    }
    // Elsewhere: the standard library seeds its hash maps at random.
    use std::hash::{BuildHasher, RandomState};
    let word = || RandomState::new().hash_one(std::process::id());
    format!("{:016x}{:016x}", word(), word())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_from_a_text() {
        let resource =
            Resource::new("gateway").with_text("deployment.environment=prod, 1st=a%2Cb").expect("two pairs");
        let attributes: BTreeMap<&str, &str> = resource.attributes().collect();
        assert_eq!((attributes["deployment.environment"], attributes["1st"]), ("prod", "a,b"));
        assert_eq!(attributes["service.instance.id"].len(), 36);
        assert!(Resource::new("x").with_text("a").is_err_and(|error| error.contains("name=value")));
        assert!(Resource::new("x").with_text("a=%2").is_err());
        assert_eq!(
            (label_name("service.name"), label_name("1st")),
            ("service_name".into(), "key_1st".into())
        );
    }
}
