//! Relabelling: rewrites label sets of targets, samples and alerts as Prometheus does.

use std::collections::BTreeMap;

use md5::{Digest, Md5};
use regex_automata::util::captures::Captures;

use crate::config::file::{Action, RelabelConfig};
use crate::config::scalar::Anchored;

/// A label set under construction.
pub type LabelMap = BTreeMap<String, String>;

/// Whether one step makes sense.
///
/// # Errors
/// What is missing or must not be there.
pub fn check(step: &RelabelConfig) -> Result<(), String> {
    let action = format!("{:?}", step.action).to_lowercase();
    let needs_target = matches!(
        step.action,
        Action::Replace
            | Action::HashMod
            | Action::Lowercase
            | Action::Uppercase
            | Action::KeepEqual
            | Action::DropEqual
    );
    if needs_target && step.target_label.as_deref().unwrap_or("").is_empty() {
        return Err(format!("action {action} needs target_label"));
    }
    if step.action == Action::HashMod && step.modulus.unwrap_or(0) == 0 {
        return Err("action hashmod needs a modulus above 0".into());
    }
    let only_regex = matches!(step.action, Action::LabelDrop | Action::LabelKeep);
    if only_regex
        && (!step.source_labels.is_empty() || step.target_label.is_some() || step.replacement.is_some())
    {
        return Err(format!("action {action} takes regex alone"));
    }
    Ok(())
}

/// Applies all steps in order; `false` means that the label set is dropped.
///
/// A label whose value becomes empty is removed.
pub fn apply(steps: &[RelabelConfig], labels: &mut LabelMap) -> bool {
    steps.iter().all(|step| apply_one(step, labels))
}

fn apply_one(step: &RelabelConfig, labels: &mut LabelMap) -> bool {
    let separator = step.separator.as_deref().unwrap_or(";");
    let joined = || {
        let values: Vec<&str> =
            step.source_labels.iter().map(|name| labels.get(&name.0).map_or("", String::as_str)).collect();
        values.join(separator)
    };
    let target = step.target_label.as_deref().unwrap_or("");
    match step.action {
        Action::Keep => return matches(step, &joined()),
        Action::Drop => return !matches(step, &joined()),
        Action::KeepEqual => return labels.get(target).map_or("", String::as_str) == joined(),
        Action::DropEqual => return labels.get(target).map_or("", String::as_str) != joined(),
        Action::Replace => {
            let value = joined();
            let template = step.replacement.as_deref().unwrap_or("$1");
            if let Some((name, value)) = replace(step, &value, target, template) {
                set(labels, &name, value);
            }
        }
        Action::Lowercase => {
            let value = joined().to_lowercase();
            set(labels, target, value);
        }
        Action::Uppercase => {
            let value = joined().to_uppercase();
            set(labels, target, value);
        }
        Action::HashMod => {
            // The last eight bytes of MD5, big-endian: targets are shared out as a Prometheus would do it.
            let hash = Md5::digest(joined().as_bytes());
            let tail: [u8; 8] = hash[8..16].try_into().expect("MD5 has sixteen bytes");
            let value = u64::from_be_bytes(tail) % step.modulus.unwrap_or(1).max(1);
            set(labels, target, value.to_string());
        }
        Action::LabelMap => {
            let template = step.replacement.as_deref().unwrap_or("$1");
            let renamed: Vec<(String, String)> = labels
                .iter()
                .filter_map(|(name, value)| {
                    expand(step.regex.as_ref(), name, template).map(|to| (to, value.clone()))
                })
                .collect();
            for (name, value) in renamed {
                set(labels, &name, value);
            }
        }
        Action::LabelDrop => labels.retain(|name, _| !matches(step, name)),
        Action::LabelKeep => labels.retain(|name, _| matches(step, name)),
    }
    true
}

fn set(labels: &mut LabelMap, name: &str, value: String) {
    if value.is_empty() {
        labels.remove(name);
    } else {
        labels.insert(name.to_owned(), value);
    }
}

fn matches(step: &RelabelConfig, value: &str) -> bool {
    step.regex.as_ref().is_none_or(|regex| regex.regex().is_match(value))
}

/// The label and value that a `replace` writes, if its expression matches.
fn replace(step: &RelabelConfig, value: &str, target: &str, template: &str) -> Option<(String, String)> {
    let name = expand(step.regex.as_ref(), value, target)?;
    if name.is_empty() {
        return None;
    }
    Some((name, expand(step.regex.as_ref(), value, template)?))
}

/// `template` with `$1`, `${1}` and `${name}` filled in from the match; `None` if there is no match.
fn expand(regex: Option<&Anchored>, value: &str, template: &str) -> Option<String> {
    let Some(regex) = regex else {
        // The expression that is meant where none is given is `(.*)`.
        return Some(template.replace("${1}", "$1").replace("${0}", "$1").replace("$1", value));
    };
    let mut captures: Captures = regex.regex().create_captures();
    regex.regex().captures(value, &mut captures);
    if !captures.is_match() {
        return None;
    }
    let mut out = String::new();
    captures.interpolate_string_into(value, template, &mut out);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_steps(yaml: &str, before: &[(&str, &str)], after: Option<&[(&str, &str)]>) {
        let steps: Vec<RelabelConfig> = serde_saphyr::from_str(yaml).expect(yaml);
        let own =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        let mut labels: LabelMap = own(before);
        let kept = apply(&steps, &mut labels);
        assert_eq!(kept.then_some(labels), after.map(own), "{yaml}");
    }

    #[test]
    fn each_action_does_what_prometheus_does() {
        let ab = [("a", "foo"), ("b", "bar")];
        check_steps(
            "[{source_labels: [a], target_label: c}]",
            &ab,
            Some(&[("a", "foo"), ("b", "bar"), ("c", "foo")]),
        );
        check_steps(
            "[{source_labels: [a, b], regex: 'f(.*);(.*)r', target_label: 'l_$1', replacement: '${2}x${1}'}]",
            &ab,
            Some(&[("a", "foo"), ("b", "bar"), ("l_oo", "baxoo")]),
        );
        check_steps("[{source_labels: [a], regex: 'x', target_label: c}]", &ab, Some(&ab));
        check_steps("[{source_labels: [a], target_label: b, replacement: ''}]", &ab, Some(&[("a", "foo")]));
        check_steps("[{source_labels: [a], regex: 'fo', action: keep}]", &ab, None);
        check_steps("[{source_labels: [a], regex: 'fo+', action: keep}]", &ab, Some(&ab));
        check_steps("[{source_labels: [a], regex: 'foo', action: drop}]", &ab, None);
        check_steps("[{source_labels: [a], target_label: b, action: keepequal}]", &ab, None);
        check_steps("[{source_labels: [a], target_label: b, action: dropequal}]", &ab, Some(&ab));
        check_steps(
            "[{regex: '(a)', replacement: 'x_$1', action: labelmap}]",
            &ab,
            Some(&[("a", "foo"), ("b", "bar"), ("x_a", "foo")]),
        );
        check_steps("[{regex: 'a', action: labeldrop}]", &ab, Some(&[("b", "bar")]));
        check_steps("[{regex: 'a', action: labelkeep}]", &ab, Some(&[("a", "foo")]));
        check_steps(
            "[{source_labels: [a], target_label: a, action: uppercase}]",
            &ab,
            Some(&[("a", "FOO"), ("b", "bar")]),
        );
    }

    #[test]
    fn hashmod_agrees_with_md5() {
        // MD5("foo") = acbd18db4cc2f85cedef654fccc4a4d8; 0xedef654fccc4a4d8 mod 1000 = 152.
        let tail = 0xedef_654f_ccc4_a4d8u64 % 1000;
        check_steps(
            "[{source_labels: [a], target_label: c, modulus: 1000, action: hashmod}]",
            &[("a", "foo")],
            Some(&[("a", "foo"), ("c", &tail.to_string())]),
        );
    }

    #[test]
    fn steps_that_make_no_sense_are_refused() {
        for yaml in [
            "{action: hashmod, target_label: a}",
            "{action: replace}",
            "{action: labeldrop, source_labels: [a]}",
        ] {
            let step: RelabelConfig = serde_saphyr::from_str(yaml).expect(yaml);
            assert!(check(&step).is_err(), "{yaml}");
        }
    }
}
