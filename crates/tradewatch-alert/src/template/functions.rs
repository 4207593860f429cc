//! Prometheus' template functions.
//!
//! Each is called with its place in the text first, which the rewriting puts there.

use std::collections::BTreeMap;
use std::sync::Arc;

use gotmpl::{FuncMap, TemplateError, Value as Go, ValueFunc};
use regex_automata::meta::Regex;
use tradewatch_tsdb::{Labels, Value};

use super::number::{format_g, format_go_float};
use super::print;
use super::time;
use super::{CURRENT, Failure, Mark, QUERIES_MAX, labels_value, sample_value};

pub(super) type Answer = Result<Go, String>;

/// Name, number of arguments (`None`: any) and body.
const FUNCTIONS: [(&str, Option<usize>, fn(&[Go]) -> Answer); 33] = [
    ("query", Some(1), query),
    ("first", Some(1), first),
    ("label", Some(2), label),
    ("value", Some(1), |a| sample_of(&a[0]).map(|sample| field_or_nil(sample, "Value"))),
    ("strvalue", Some(1), |a| label(&[Go::String("__value__".into()), a[0].clone()])),
    ("args", None, args),
    ("reReplaceAll", Some(3), replace_all),
    ("match", Some(2), |a| Ok(Go::Bool(regex(&text(&a[0])?)?.is_match(&text(&a[1])?)))),
    ("safeHtml", Some(1), |a| text(&a[0]).map(string)),
    ("title", Some(1), |a| text(&a[0]).map(|t| string(title(&t)))),
    ("toUpper", Some(1), |a| text(&a[0]).map(|t| string(t.to_uppercase()))),
    ("toLower", Some(1), |a| text(&a[0]).map(|t| string(t.to_lowercase()))),
    ("graphLink", Some(1), |a| {
        text(&a[0]).map(|t| string(format!("/graph?g0.expr={}&g0.tab=0", escape_query(&t))))
    }),
    ("tableLink", Some(1), |a| {
        text(&a[0]).map(|t| string(format!("/graph?g0.expr={}&g0.tab=1", escape_query(&t))))
    }),
    ("sortByLabel", Some(2), sort_by_label),
    ("stripPort", Some(1), |a| {
        text(&a[0]).map(|t| string(split_port(&t).map_or(t.clone(), |(host, _)| host)))
    }),
    ("stripDomain", Some(1), |a| text(&a[0]).map(|t| string(strip_domain(&t)))),
    ("humanize", Some(1), |a| number(&a[0]).map(|v| string(humanize(v)))),
    ("humanize1024", Some(1), |a| number(&a[0]).map(|v| string(humanize_1024(v)))),
    ("humanizeDuration", Some(1), |a| number(&a[0]).map(|v| string(humanize_duration(v)))),
    ("humanizePercentage", Some(1), |a| number(&a[0]).map(|v| string(format!("{}%", g4(v * 100.0))))),
    ("humanizeTimestamp", Some(1), humanize_timestamp),
    ("toTime", Some(1), to_time),
    ("toDuration", Some(1), |a| number(&a[0]).map(time::duration)),
    ("now", Some(0), |_| Ok(Go::Float(current(|c| c.context.at.as_secs_f64())))),
    ("pathPrefix", Some(0), |_| Ok(string(path_prefix(&current(|c| c.context.external_url.clone()))))),
    ("externalURL", Some(0), |_| Ok(string(current(|c| c.context.external_url.clone())))),
    ("parseDuration", Some(1), parse_duration),
    ("urlQueryEscape", Some(1), |a| text(&a[0]).map(|t| string(escape_query(&t)))),
    ("tmpl", None, |_| Ok(string(String::new()))),
    ("print", None, |a| Ok(string(print::print(a)))),
    ("println", None, |a| Ok(string(print::println(a)))),
    ("printf", None, print::printf),
];

/// Whether a template may call it.
pub(super) fn is_known(name: &str) -> bool {
    FUNCTIONS.iter().any(|(known, ..)| *known == name)
}

/// Everything for `gotmpl`.
pub(super) fn all() -> FuncMap {
    let mut map = FuncMap::new();
    for (name, arity, body) in FUNCTIONS {
        let function: ValueFunc = Arc::new(move |args| {
            let [place, Go::String(node), args @ ..] = args else {
                return Err(TemplateError::Exec(format!("{name} without its place")));
            };
            if let Some(arity) = arity.filter(|arity| *arity != args.len()) {
                let message = format!("wrong number of args for {name}: want {arity} got {}", args.len());
                return Err(fail(place, name, message));
            }
            body(args).map_err(|message| {
                let called = if message.starts_with("wrong type") {
                    String::new()
                } else {
                    format!("error calling {name}: ")
                };
                fail(place, node, format!("{called}{message}"))
            })
        });
        map.insert(name.to_owned(), function);
    }
    map.insert("_out".to_owned(), Arc::new(|args| Ok(string(print::one(args.last().unwrap_or(&Go::Nil))))));
    map.insert("_field".to_owned(), Arc::new(field));
    map.insert("_method".to_owned(), Arc::new(method));
    map.insert(
        "_mark".to_owned(),
        Arc::new(|args| {
            mark(args);
            Ok(Go::Nil)
        }),
    );
    map.insert(
        "_pass".to_owned(),
        Arc::new(|args| {
            mark(args);
            Ok(args.last().cloned().unwrap_or(Go::Nil))
        }),
    );
    map.insert("_second".to_owned(), Arc::new(|args| Ok(args.last().cloned().unwrap_or(Go::Nil))));
    map
}

pub(super) fn current<T>(read: impl FnOnce(&super::Current) -> T) -> T {
    CURRENT.with_borrow(|slot| read(slot.as_ref().expect("functions run only inside an expansion")))
}

pub(super) fn mark(args: &[Go]) {
    let text = |at: usize| args.get(at).and_then(Go::as_str).unwrap_or("").to_owned();
    let offset = args.first().and_then(Go::as_int).unwrap_or(0) as usize;
    let mark = Mark { offset, function: text(1), node: text(2) };
    CURRENT.with_borrow_mut(|slot| {
        if let Some(current) = slot {
            current.mark = Some(mark);
        }
    });
}

/// Notes where and how the expansion fails; the innermost failure is the one that counts.
pub(super) fn fail(place: &Go, node: &str, message: String) -> TemplateError {
    let offset = place.as_int().unwrap_or(0) as usize;
    CURRENT.with_borrow_mut(|slot| {
        if let Some(current) = slot {
            current.failure.get_or_insert(Failure {
                offset,
                node: node.to_owned(),
                message: message.clone(),
            });
        }
    });
    TemplateError::Exec(message)
}

/// `_field place shown value name`.
fn field(args: &[Go]) -> gotmpl::Result<Go> {
    let [place, shown, value, Go::String(name)] = args else {
        return Err(TemplateError::Exec("_field".to_owned()));
    };
    let shown = shown.as_str().unwrap_or("");
    if let Some(answer) = time::method(value, name, &[]) {
        return answer.map_err(|message| fail(place, shown, message));
    }
    match value {
        Go::Map(map) => match map.get(&**name) {
            Some(found) => Ok(found.clone()),
            None if map.contains_key("ExternalURL") => {
                let message = format!(
                    "can't evaluate field {name} in type struct {{ Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; Value interface {{}} }}"
                );
                Err(fail(place, shown, message))
            }
            None if is_sample(value) => {
                Err(fail(place, shown, format!("can't evaluate field {name} in type *template.sample")))
            }
            None => Ok(string(String::new())),
        },
        Go::Nil => Err(fail(place, shown, format!("nil data; no entry for key {name:?}"))),
        other => Err(fail(place, shown, format!("can't evaluate field {name} in type {}", go_type(other)))),
    }
}

/// `_method place shown value name args…`.
fn method(args: &[Go]) -> gotmpl::Result<Go> {
    let [place, shown, value, Go::String(name), args @ ..] = args else {
        return Err(TemplateError::Exec("_method".to_owned()));
    };
    let shown = shown.as_str().unwrap_or("");
    match time::method(value, name, args) {
        Some(answer) => answer.map_err(|message| fail(place, shown, message)),
        None => Err(fail(place, shown, format!("{name} is not a method but has arguments"))),
    }
}

pub(super) fn go_type(value: &Go) -> &'static str {
    match value {
        Go::Nil => "nil",
        Go::Bool(_) => "bool",
        Go::Int(_) | Go::Uint(_) => "int",
        Go::Float(_) => "float64",
        Go::List(_) => "template.queryResult",
        Go::Map(_) => "map[string]string",
        _ => "string",
    }
}

fn is_sample(value: &Go) -> bool {
    matches!(value, Go::Map(map) if map.len() == 2 && map.contains_key("Labels") && map.contains_key("Value"))
}

pub(super) fn string(text: impl Into<String>) -> Go {
    Go::String(text.into().into())
}

pub(super) fn text(value: &Go) -> Result<String, String> {
    match value {
        Go::String(text) => Ok(text.to_string()),
        Go::Nil => Ok(String::new()),
        other => Err(format!("wrong type for value; expected string; got {}", go_type(other))),
    }
}

pub(super) fn number(value: &Go) -> Result<f64, String> {
    match value {
        Go::Float(value) => Ok(*value),
        Go::Int(value) => Ok(*value as f64),
        Go::Uint(value) => Ok(*value as f64),
        Go::String(text) => parse_float(text),
        Go::Nil => parse_float(""),
        other => match time::as_duration(other) {
            Some(secs) => Ok(secs),
            None => Err(format!("can't convert {} to float", go_type(other))),
        },
    }
}

fn parse_float(text: &str) -> Result<f64, String> {
    let lower = text.to_ascii_lowercase();
    let known = match lower.trim_start_matches(['+', '-']) {
        "inf" | "infinity" => Some(if lower.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY }),
        "nan" => Some(f64::NAN),
        _ => None,
    };
    known
        .or_else(|| text.parse().ok())
        .ok_or_else(|| format!("strconv.ParseFloat: parsing {text:?}: invalid syntax"))
}

fn sample(labels: &Labels, value: &Value) -> Go {
    let map = BTreeMap::from([
        (Arc::from("Labels"), labels_value(labels)),
        (Arc::from("Value"), sample_value(value)),
    ]);
    Go::Map(Arc::new(map))
}

fn query(args: &[Go]) -> Answer {
    let expr = text(&args[0])?;
    let asked = CURRENT.with_borrow_mut(|slot| {
        slot.as_mut().map_or(0, |current| {
            current.queries += 1;
            current.queries
        })
    });
    if asked > QUERIES_MAX {
        return Err(format!("more than {QUERIES_MAX} queries in one text"));
    }
    let (ask, at) = current(|c| (c.context.query.clone(), c.context.at));
    let samples = ask(&expr, at)?;
    Ok(Go::List(samples.iter().map(|(labels, value)| sample(labels, value)).collect()))
}

fn list(value: &Go) -> Result<&[Go], String> {
    match value {
        Go::List(items) => Ok(items),
        Go::Nil => Ok(&[]),
        other => Err(format!("wrong type for value; expected template.queryResult; got {}", go_type(other))),
    }
}

fn first(args: &[Go]) -> Answer {
    list(&args[0])?.first().cloned().ok_or_else(|| "first() called on vector with no elements".to_owned())
}

fn field_or_nil(sample: &Go, name: &str) -> Go {
    sample.field(name).cloned().unwrap_or(Go::Nil)
}

fn sample_of(value: &Go) -> Result<&Go, String> {
    match value {
        Go::Map(_) => Ok(value),
        other => Err(format!("wrong type for value; expected *template.sample; got {}", go_type(other))),
    }
}

fn label(args: &[Go]) -> Answer {
    let name = text(&args[0])?;
    sample_of(&args[1])?;
    let labels = field_or_nil(&args[1], "Labels");
    Ok(labels.field(&name).cloned().unwrap_or_else(|| string(String::new())))
}

fn args(args: &[Go]) -> Answer {
    let map = args.iter().enumerate().map(|(i, value)| (Arc::from(format!("arg{i}")), value.clone()));
    Ok(Go::Map(Arc::new(map.collect())))
}

fn sort_by_label(args: &[Go]) -> Answer {
    let name = text(&args[0])?;
    let mut items = list(&args[1])?.to_vec();
    items.sort_by_key(|item| print::one(&label(&[string(name.clone()), item.clone()]).unwrap_or(Go::Nil)));
    Ok(Go::List(items.into()))
}

pub(super) fn regex(pattern: &str) -> Result<Regex, String> {
    // The store words it as Go does.
    let reason = |text: String| text.split_once("\": ").map_or(text.clone(), |(_, reason)| reason.to_owned());
    Regex::new(pattern).map_err(|error| {
        let checked = tradewatch_tsdb::Regex::new(pattern).err().map(|e| reason(e.to_string()));
        let checked = checked.map(|reason| match reason.as_str() {
            "unclosed group" => format!("missing closing ): `{pattern}`"),
            _ => reason,
        });
        format!("error parsing regexp: {}", checked.unwrap_or_else(|| error.to_string()))
    })
}

pub(super) fn replace_all(args: &[Go]) -> Answer {
    let (pattern, replacement, text) = (text(&args[0])?, text(&args[1])?, text(&args[2])?);
    let regex = regex(&pattern).map_err(|error| format!("regexp: Compile(`{pattern}`): {error}"))?;
    let mut out = String::new();
    let mut last = 0;
    for captures in regex.captures_iter(&text) {
        let Some(whole) = captures.get_match() else { continue };
        out += &text[last..whole.start()];
        captures.interpolate_string_into(&text, &replacement, &mut out);
        last = whole.end();
    }
    out += &text[last..];
    Ok(string(out))
}

/// The first letter of each word in upper case.
pub(super) fn title(text: &str) -> String {
    let mut before = ' ';
    let mut out = String::new();
    for c in text.chars() {
        // As Go's `strings.Title`: beyond ASCII only a space begins a word.
        let begins = match before.is_ascii() {
            true => !(before.is_ascii_alphanumeric() || before == '_'),
            false => before.is_whitespace(),
        };
        if begins {
            out.extend(c.to_uppercase())
        } else {
            out.push(c)
        }
        before = c;
    }
    out
}

/// Host and port of `host:port` or `[v6]:port`.
fn split_port(text: &str) -> Option<(String, String)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    Some((host.to_owned(), port.to_owned()))
}

fn strip_domain(text: &str) -> String {
    let (host, port) = split_port(text).map_or((text.to_owned(), None), |(host, port)| (host, Some(port)));
    if host.parse::<std::net::IpAddr>().is_ok() {
        return text.to_owned();
    }
    let host = host.split('.').next().unwrap_or("").to_owned();
    match port.filter(|port| !port.is_empty()) {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}

fn g4(value: f64) -> String {
    format_g(value, Some(4))
}

/// Scales `value` below one with milli, micro and so on.
fn small(mut value: f64) -> (f64, &'static str) {
    let mut prefix = "";
    for next in ["m", "u", "n", "p", "f", "a", "z", "y"] {
        if value.abs() >= 1.0 {
            break;
        }
        prefix = next;
        value *= 1000.0;
    }
    (value, prefix)
}

fn humanize(mut value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return g4(value);
    }
    let mut prefix = "";
    if value.abs() >= 1.0 {
        for next in ["k", "M", "G", "T", "P", "E", "Z", "Y"] {
            if value.abs() < 1000.0 {
                break;
            }
            prefix = next;
            value /= 1000.0;
        }
    } else {
        (value, prefix) = small(value);
    }
    format!("{}{prefix}", g4(value))
}

fn humanize_1024(mut value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return g4(value);
    }
    let mut prefix = "";
    for next in ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"] {
        if value.abs() < 1024.0 {
            break;
        }
        prefix = next;
        value /= 1024.0;
    }
    format!("{}{prefix}", g4(value))
}

pub(super) fn humanize_duration(value: f64) -> String {
    if !value.is_finite() {
        return g4(value);
    }
    if value == 0.0 {
        return format!("{}s", g4(value));
    }
    if value.abs() < 1.0 {
        let (value, prefix) = small(value);
        return format!("{}{prefix}s", g4(value));
    }
    let sign = if value < 0.0 { "-" } else { "" };
    let value = value.abs();
    let whole = value as u64;
    let (days, hours, minutes, seconds) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", g4(value)),
        (0, 0, _) => format!("{sign}{minutes}m {seconds}s"),
        (0, _, _) => format!("{sign}{hours}h {minutes}m {seconds}s"),
        _ => format!("{sign}{days}d {hours}h {minutes}m {seconds}s"),
    }
}

fn in_range(value: f64) -> Result<f64, String> {
    if value.abs() > 9.2e15 {
        return Err(format!(
            "{} cannot be represented as a nanoseconds timestamp since it overflows int64",
            format_go_float(value)
        ));
    }
    Ok(value)
}

fn humanize_timestamp(args: &[Go]) -> Answer {
    let value = number(&args[0])?;
    if !value.is_finite() {
        return Ok(string(g4(value)));
    }
    in_range(value).map(|secs| string(time::print_time(secs)))
}

fn to_time(args: &[Go]) -> Answer {
    in_range(number(&args[0])?).map(time::time)
}

fn parse_duration(args: &[Go]) -> Answer {
    crate::duration::parse(&text(&args[0])?).map(|d| Go::Float(d.as_secs_f64()))
}

/// The path of an address, without the slash at its end.
fn path_prefix(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or("", |at| &rest[at..]).trim_end_matches('/').to_owned()
}

/// Percent-encodes for a query string, space as `+`.
pub(crate) fn escape_query(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            other => out += &format!("%{other:02X}"),
        }
    }
    out
}
