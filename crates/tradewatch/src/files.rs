//! The platform folders: from disk where there are some, else those that the binary carries.

use anyhow::{Context, Result, bail};
use include_dir::{Dir, include_dir};
use std::path::{Path, PathBuf};

static SHIPPED: Dir = include_dir!("$CARGO_MANIFEST_DIR/../../platforms");

/// The folder that holds the platform folders: `chosen`, or `./platforms` if it has `platform`, or the shipped one
/// written out below `data_dir`.
///
/// # Errors
/// If there is no such platform; the message lists those that there are.
pub fn platforms(chosen: Option<&Path>, platform: &str, data_dir: &Path) -> Result<PathBuf> {
    if let Some(chosen) = chosen {
        if !chosen.join(platform).join("prometheus.yml").exists() {
            bail!(
                "{} holds no platform {platform:?} (looked for {platform}/prometheus.yml)",
                chosen.display()
            );
        }
        return Ok(chosen.canonicalize()?);
    }
    let here = Path::new("platforms");
    if here.join(platform).join("prometheus.yml").exists() {
        return Ok(here.canonicalize()?);
    }
    if SHIPPED.get_file(format!("{platform}/prometheus.yml")).is_none() {
        let known: Vec<_> =
            SHIPPED.dirs().filter(|dir| dir.get_file(dir.path().join("prometheus.yml")).is_some()).collect();
        let names: Vec<_> = known.iter().map(|dir| dir.path().display().to_string()).collect();
        bail!("there is no platform {platform:?}; there are: {}", names.join(", "));
    }
    let out = data_dir.join("platforms");
    std::fs::create_dir_all(&out).with_context(|| format!("create {}", out.display()))?;
    SHIPPED.extract(&out).with_context(|| format!("write the shipped platforms to {}", out.display()))?;
    Ok(out.canonicalize()?)
}

/// The platform's scrape configuration with the addresses of this run and absolute rule files.
///
/// Addresses are moved by text, so that comments and unknown keys of a user's own file stay as they are.
pub fn scrape_config(
    platforms: &Path,
    platform: &str,
    port_base: u16,
    listen: std::net::SocketAddr,
) -> Result<String> {
    let file = platforms.join(platform).join("prometheus.yml");
    let mut text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    // First to a form that no later step touches, so that a moved port is not moved again.
    for offset in 1..=12u16 {
        text = text.replace(
            &format!("\"127.0.0.1:{}\"", 8000 + offset),
            &format!("\"127.0.0.1:<{}>\"", port_base + offset),
        );
    }
    text = text.replace("\"127.0.0.1:9090\"", &format!("\"{listen}\"")).replace(['<', '>'], "");
    let mut lines = Vec::new();
    let mut in_rule_files = false;
    for line in text.lines() {
        in_rule_files = if line.starts_with("rule_files:") {
            true
        } else {
            in_rule_files && (line.starts_with(' ') || line.is_empty())
        };
        match line.trim_start().strip_prefix("- ") {
            Some(path) if in_rule_files => {
                lines.push(format!("  - {}", platforms.join(platform).join(path.trim()).display()));
            }
            _ => lines.push(line.to_owned()),
        }
    }
    Ok(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_move_and_rules_are_found_from_anywhere() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../platforms");
        let text = scrape_config(&folder, "trading-platform", 18000, ([127, 0, 0, 1], 19090).into()).unwrap();
        for wanted in
            ["127.0.0.1:18001", "127.0.0.1:18002", "127.0.0.1:18003", "127.0.0.1:18004", "127.0.0.1:19090"]
        {
            assert!(text.contains(wanted), "{wanted} is missing from\n{text}");
        }
        assert!(!text.contains("127.0.0.1:80"), "an address was left behind in\n{text}");
        let rules = text.lines().filter(|line| line.ends_with("rules/service-health.yml")).count();
        assert_eq!(rules, 1, "{text}");
    }

    #[test]
    fn overlapping_bases_do_not_move_a_port_twice() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../platforms");
        let text = scrape_config(&folder, "trading-platform", 8001, ([127, 0, 0, 1], 9090).into()).unwrap();
        for wanted in ["8002", "8003", "8004", "8005"] {
            assert_eq!(text.matches(&format!("127.0.0.1:{wanted}")).count(), 1, "{wanted} in\n{text}");
        }
    }

    #[test]
    fn an_unknown_platform_is_refused_by_name() {
        let error = platforms(None, "no-such", Path::new("unused")).unwrap_err();
        assert!(error.to_string().contains("trading-platform"), "{error}");
    }
}
