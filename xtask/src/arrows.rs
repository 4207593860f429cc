//! The arrows between the crates, guarded: docs/ARCHITECTURE.md draws them, this test holds them.

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::process::Command;

    /// What each crate may depend on, tests included. An arrow that is not here is a decision, and a commit of its own.
    const ALLOWED: &[(&str, &[&str])] = &[
        ("tradewatch-metrics-derive", &[]),
        ("tradewatch-metrics", &["tradewatch-metrics-derive"]),
        // It names itself: its tests are of all its features.
        ("tradewatch-instrument", &["tradewatch-instrument", "tradewatch-metrics"]),
        ("tradewatch-catalog", &["tradewatch-metrics"]),
        ("tradewatch-tsdb", &[]),
        ("tradewatch-promql", &["tradewatch-tsdb"]),
        ("tradewatch-calendar", &[]),
        ("tradewatch-alert", &["tradewatch-calendar", "tradewatch-promql", "tradewatch-tsdb"]),
        (
            "tradewatch-check",
            &[
                "tradewatch-alert",
                "tradewatch-catalog",
                "tradewatch-metrics",
                "tradewatch-promql",
                "tradewatch-tsdb",
            ],
        ),
        (
            "tradewatch-server",
            &[
                "tradewatch-alert",
                "tradewatch-calendar",
                "tradewatch-metrics",
                "tradewatch-promql",
                "tradewatch-tsdb",
            ],
        ),
        (
            "tradewatch-platforms",
            &["tradewatch-calendar", "tradewatch-catalog", "tradewatch-instrument", "tradewatch-metrics"],
        ),
    ];

    fn metadata() -> serde_json::Value {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--no-deps", "--locked"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
    }

    fn arrows() -> BTreeMap<String, BTreeSet<String>> {
        let metadata = metadata();
        let packages = metadata["packages"].as_array().expect("packages");
        let names: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
        packages
            .iter()
            .map(|package| {
                let dependencies = package["dependencies"].as_array().expect("dependencies");
                let ours = dependencies.iter().filter_map(|dependency| dependency["name"].as_str());
                let ours = ours.filter(|name| names.contains(name)).map(str::to_owned).collect();
                (package["name"].as_str().expect("a name").to_owned(), ours)
            })
            .collect()
    }

    #[test]
    fn arrows_point_only_downwards() {
        let arrows = arrows();
        for (name, allowed) in ALLOWED {
            let found = arrows.get(*name).unwrap_or_else(|| panic!("there is no crate {name}"));
            for other in found {
                assert!(
                    allowed.contains(&other.as_str()),
                    "{name} depends on {other}, which docs/ARCHITECTURE.md does not draw"
                );
            }
        }
        let top = BTreeSet::from(["tradewatch", "xtask"]);
        let guarded: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
        for name in arrows.keys() {
            assert!(
                top.contains(name.as_str()) || guarded.contains(name.as_str()),
                "{name} has no row in ALLOWED"
            );
        }
    }

    /// The reference platforms reach the server by the exposition text only, on any path of arrows.
    #[test]
    fn platforms_never_reach_the_server() {
        let arrows = arrows();
        let mut reached = BTreeSet::from(["tradewatch-platforms".to_owned()]);
        loop {
            let next: BTreeSet<String> =
                reached.iter().flat_map(|name| arrows[name].iter().cloned()).collect();
            if next.is_subset(&reached) {
                break;
            }
            reached.extend(next);
        }
        for forbidden in ["tradewatch-server", "tradewatch-tsdb", "tradewatch-promql", "tradewatch-alert"] {
            assert!(!reached.contains(forbidden), "tradewatch-platforms reaches {forbidden}: {reached:?}");
        }
    }
}
