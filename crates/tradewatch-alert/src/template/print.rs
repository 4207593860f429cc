//! Printing as Go does it.

use std::collections::BTreeMap;
use std::sync::Arc;

use gotmpl::Value as Go;

use super::functions::{Answer, go_type, string, text};
use super::number::format_go_float;
use super::time;

/// How an action prints its value; a missing one prints nothing, as Prometheus' string maps do.
pub(super) fn one(value: &Go) -> String {
    if let Some(text) = time::print(value) {
        return text;
    }
    match value {
        Go::Nil => String::new(),
        Go::Float(value) => format_go_float(*value),
        Go::List(items) => format!("[{}]", items.iter().map(one).collect::<Vec<_>>().join(" ")),
        Go::Map(map) if map.contains_key(super::notice::TYPE) => {
            let fields = map.iter().filter(|(name, _)| &***name != super::notice::TYPE);
            format!("{{{}}}", fields.map(|(_, value)| one(value)).collect::<Vec<_>>().join(" "))
        }
        Go::Map(map) => {
            let parts: Vec<String> =
                map.iter().map(|(name, value)| format!("{name}:{}", one(value))).collect();
            format!("map[{}]", parts.join(" "))
        }
        other => other.to_string(),
    }
}

/// Spaces stand between operands when neither is a text.
pub(super) fn print(args: &[Go]) -> String {
    let is_text = |value: &Go| matches!(value, Go::String(_));
    let mut out = String::new();
    for (at, arg) in args.iter().enumerate() {
        if at > 0 && !is_text(arg) && !is_text(&args[at - 1]) {
            out.push(' ');
        }
        out += &one(arg);
    }
    out
}

pub(super) fn println(args: &[Go]) -> String {
    format!("{}\n", args.iter().map(one).collect::<Vec<_>>().join(" "))
}

/// `printf`: numbers under `%v` and verbs that do not fit a number as Go, the rest by `gotmpl`.
pub(super) fn printf(args: &[Go]) -> Answer {
    let Some((format, args)) = args.split_first() else {
        return Err("wrong number of args for printf: want at least 1 got 0".to_owned());
    };
    let format = text(format)?;
    if format.contains("%[") || format.contains('*') {
        return delegate(&format, args).map(string);
    }
    let mut args = args.iter();
    let mut out = String::new();
    let mut rest = format.as_str();
    while let Some(found) = rest.find('%') {
        out += &rest[..found];
        let after = &rest[found + 1..];
        let end =
            after.find(|c: char| c.is_ascii_alphabetic() || c == '%').map_or(after.len(), |end| end + 1);
        let (spec, after) = after.split_at(end);
        rest = after;
        if spec == "%" {
            out.push('%');
            continue;
        }
        let verb = spec.chars().last().unwrap_or(' ');
        match args.next() {
            None => out += &format!("%!{verb}(MISSING)"),
            Some(value @ (Go::Float(_) | Go::Map(_) | Go::List(_) | Go::Nil)) if verb == 'v' => {
                let width = format!("%{}s", &spec[..spec.len() - 1]);
                out += &delegate(&width, &[string(one(value))])?;
            }
            Some(Go::Float(value)) if !"eEfFgGbxXT".contains(verb) => {
                out += &format!("%!{verb}(float64={})", format_go_float(*value));
            }
            Some(value) => out += &delegate(&format!("%{spec}"), std::slice::from_ref(value))?,
        }
    }
    out += rest;
    let extra: Vec<String> = args.map(|value| format!("{}={}", go_type(value), one(value))).collect();
    if !extra.is_empty() {
        out += &format!("%!(EXTRA {})", extra.join(", "));
    }
    Ok(string(out))
}

/// One call of `gotmpl`'s own `printf`.
fn delegate(format: &str, args: &[Go]) -> Result<String, String> {
    let mut data = BTreeMap::from([(Arc::from("f"), string(format))]);
    let mut text = "{{printf .f".to_owned();
    for (at, arg) in args.iter().enumerate() {
        data.insert(Arc::from(format!("a{at}")), arg.clone());
        text += &format!(" .a{at}");
    }
    gotmpl::execute(&(text + "}}"), &Go::Map(Arc::new(data))).map_err(|error| error.to_string())
}
