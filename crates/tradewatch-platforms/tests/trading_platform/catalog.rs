//! The catalogue against the committed file and against what the platform's documents name.

use expect_test::expect_file;
use tradewatch_catalog::Catalog;
use tradewatch_platforms::trading_platform::catalog;

#[test]
fn the_committed_file_is_what_the_services_declare() {
    // UPDATE_EXPECT=1 writes it anew.
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../platforms/trading-platform/catalog.toml");
    expect_file![path].assert_eq(&catalog().to_string());
    let text = std::fs::read_to_string(path).expect("just compared");
    assert_eq!(Catalog::parse("catalog.toml", &text).expect("a catalogue"), catalog());
}

#[test]
fn everything_that_the_documents_name_is_declared_so() {
    let ours = catalog();
    let documents = Catalog::parse("documents-catalog.toml", include_str!("documents-catalog.toml"))
        .expect("a catalogue");
    assert_eq!(documents.metrics.len(), 37);
    for theirs in &documents.metrics {
        let name = &theirs.name;
        let metric = ours
            .metrics
            .iter()
            .find(|metric| metric.name == *name)
            .unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(metric.kind, theirs.kind, "{name}");
        assert_eq!(metric.unit, theirs.unit, "{name}");
        assert_eq!(metric.buckets, theirs.buckets, "{name}");
        assert_eq!((&metric.service, metric.port), (&theirs.service, theirs.port), "{name}");
        let names = |spec: &tradewatch_catalog::MetricSpec| -> Vec<String> {
            spec.labels.iter().map(|label| label.name.clone()).collect()
        };
        assert_eq!(names(metric), names(theirs), "{name}");
        for (label, documented) in metric.labels.iter().zip(&theirs.labels) {
            // An open label holds what it is given; the documents' versions and dates are examples.
            if label.values.is_empty() {
                continue;
            }
            assert_eq!(label.values, documented.values, "{name}, label {}", label.name);
        }
    }
}
