//! The texts of notifications: Alertmanager's data, functions and template files.
//!
//! A [`Set`] holds what the files under `templates` define, over our own texts for every receiver;
//! [`Set::compile`] makes a [`Notice`] of one field of `alertmanager.yml`. Both are checked when the
//! configuration is read: what is wrong has a file, a line and a column.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use gotmpl::parse::Parser;
use gotmpl::{FuncMap, SafeKind, TemplateError, Value as Go, ValueFunc};
use tradewatch_tsdb::{Labels, Timestamp, Value};

use super::functions::{self, Answer, fail, go_type, mark, number, string, text};
use super::rewrite::{self, Rewriter};
use super::{CompileError, Context, LOOP_ROUNDS_MAX, print, time};
use crate::notify::{Message, MessageAlert};

/// Our own texts.
const DEFAULTS: &str = include_str!("default.tmpl");
/// The name of a field's own text among the templates of a set.
const ROOT: &str = "";
/// Marks a map that is a Go struct, with the name of its type; label sets are plain maps.
pub(super) const TYPE: &str = "\u{1}type";

/// Templates that every field of a configuration may use.
#[derive(Clone)]
pub struct Set {
    base: Arc<gotmpl::Template>,
}

/// One compiled text.
#[derive(Clone)]
pub struct Notice {
    body: Body,
}

#[derive(Clone)]
enum Body {
    Plain(Arc<str>),
    Compiled(Arc<gotmpl::Template>),
}

/// Whether what a text inserts is escaped for HTML.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Escape {
    /// As it is.
    None,
    /// For HTML, as Go's `html/template` does between tags and in attributes.
    Html,
}

impl Default for Set {
    fn default() -> Set {
        static OURS: LazyLock<Set> = LazyLock::new(|| {
            let empty = gotmpl::Template::new(ROOT).max_range_iters(LOOP_ROUNDS_MAX).funcs(all(Escape::None));
            let set = Set { base: Arc::new(empty) };
            set.with_file(DEFAULTS).expect("our own templates compile; a test expands each")
        });
        OURS.clone()
    }
}

impl Set {
    /// The set with what a template file defines; it replaces what has the same name.
    ///
    /// # Errors
    /// The first thing wrong, with its offset in `source`.
    pub fn with_file(&self, source: &str) -> Result<Set, CompileError> {
        Ok(Set { base: Arc::new(self.parse(source)?) })
    }

    /// Compiles the text of one field.
    ///
    /// # Errors
    /// The first thing wrong, with its offset in `source`.
    pub fn compile(&self, source: &str) -> Result<Notice, CompileError> {
        let body = match source.contains("{{") {
            false => Body::Plain(source.into()),
            true => Body::Compiled(Arc::new(self.parse(source)?)),
        };
        Ok(Notice { body })
    }

    fn parse(&self, source: &str) -> Result<gotmpl::Template, CompileError> {
        let broken = |error: TemplateError| match error {
            TemplateError::Parse { line, col, message, .. }
            | TemplateError::Lex { line, col, message, .. } => {
                CompileError { offset: super::offset_of(source, line, col), message }
            }
            other => CompileError { offset: 0, message: other.to_string() },
        };
        if let Some((offset, message)) = rewrite::stray(source) {
            return Err(CompileError { offset, message });
        }
        let parser = Parser::with_name(Some("notification"), source, "{{", "}}").map_err(broken)?;
        let (mut tree, mut defines) = parser.parse().map_err(broken)?;
        let mut rewriter = Rewriter::new(source, is_known);
        rewriter.body(&mut tree, &["$"]);
        for define in &mut defines {
            rewriter.body(&mut define.body, &["$"]);
        }
        if let Some((offset, message)) = rewriter.error {
            return Err(CompileError { offset, message });
        }
        let mut template = (*self.base).clone();
        for define in defines {
            template = template.add_parse_tree(&define.name, define.body);
        }
        Ok(template.add_parse_tree(ROOT, tree))
    }
}

impl Notice {
    /// Expands the text for `data`, at most 256 KiB of it.
    ///
    /// # Errors
    /// What Go would say: a missing template, a wrong type, a loop that does not end.
    pub fn expand(&self, data: &Data, escape: Escape) -> Result<String, String> {
        let template = match &self.body {
            Body::Plain(text) => return Ok(text.to_string()),
            Body::Compiled(template) => template,
        };
        let context = Context {
            labels: Labels::empty(),
            value: Value::Float(0.0),
            external_labels: BTreeMap::new(),
            external_url: String::new(),
            at: data.now,
            query: Arc::new(|_, _| Err("there is no query in a notification".to_owned())),
        };
        let said = match escape {
            Escape::None => super::run(template, ROOT, &data.root, context),
            Escape::Html => {
                super::run(&(**template).clone().funcs(all(Escape::Html)), ROOT, &data.root, context)
            }
        };
        said.map_err(|why| why.replacen("error executing template : template: :", "line ", 1))
    }

    /// The text itself where nothing is to be expanded in it.
    pub fn plain(&self) -> Option<&str> {
        match &self.body {
            Body::Plain(text) => Some(text),
            Body::Compiled(_) => None,
        }
    }
}

impl fmt::Debug for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.body {
            Body::Plain(text) => write!(f, "{text:?}"),
            Body::Compiled(_) => f.write_str("<compiled>"),
        }
    }
}

/// What a notification is expanded with: Alertmanager's `Data`, and `.PhoneText` beside it.
#[derive(Clone)]
pub struct Data {
    root: Go,
    now: Timestamp,
}

impl Data {
    /// The data of a message at `now`; `phone` is its short text.
    pub fn new(message: &Message, phone: &str, now: Timestamp) -> Data {
        let root = object(
            "template.Data",
            [
                ("Receiver", string(message.receiver.clone())),
                ("Status", string(message.status.clone())),
                ("Alerts", Go::List(message.alerts.iter().map(alert).collect())),
                ("GroupLabels", pairs(&message.group_labels)),
                ("CommonLabels", pairs(&message.common_labels)),
                ("CommonAnnotations", pairs(&message.common_annotations)),
                ("ExternalURL", string(message.external_url.trim_end_matches('/'))),
                ("GroupKey", string(message.group_key.clone())),
                ("TruncatedAlerts", Go::Int(message.truncated_alerts as i64)),
                ("PhoneText", string(phone)),
            ],
        );
        Data { root, now }
    }
}

fn object<const N: usize>(kind: &str, fields: [(&str, Go); N]) -> Go {
    let fields = fields.into_iter().map(|(name, value)| (Arc::from(name), value));
    Go::Map(Arc::new(fields.chain([(Arc::from(TYPE), string(kind))]).collect()))
}

fn pairs(map: &BTreeMap<String, String>) -> Go {
    super::strings_value(map)
}

fn alert(alert: &MessageAlert) -> Go {
    let moment = |text: &str| {
        let parsed: Result<jiff::Timestamp, _> = text.parse();
        time::time(parsed.map_or(time::NO_TIME, |at| at.as_millisecond() as f64 / 1000.0))
    };
    object(
        "template.Alert",
        [
            ("Status", string(alert.status.clone())),
            ("Labels", pairs(&alert.labels)),
            ("Annotations", pairs(&alert.annotations)),
            ("StartsAt", moment(&alert.starts_at)),
            ("EndsAt", moment(&alert.ends_at)),
            ("GeneratorURL", string(alert.generator_url.clone())),
            ("Fingerprint", string(alert.fingerprint.clone())),
        ],
    )
}

/// Name, number of arguments (`None`: any) and body.
const FUNCTIONS: [(&str, Option<usize>, fn(&[Go]) -> Answer); 26] = [
    ("toUpper", Some(1), |a| text(&a[0]).map(|t| string(t.to_uppercase()))),
    ("toLower", Some(1), |a| text(&a[0]).map(|t| string(t.to_lowercase()))),
    ("title", Some(1), |a| text(&a[0]).map(|t| string(functions::title(&t)))),
    ("trimSpace", Some(1), |a| text(&a[0]).map(|t| string(t.trim()))),
    ("join", Some(2), join),
    ("match", Some(2), |a| Ok(Go::Bool(functions::regex(&text(&a[0])?)?.is_match(&text(&a[1])?)))),
    ("reReplaceAll", Some(3), functions::replace_all),
    ("safeHtml", Some(1), |a| text(&a[0]).map(|t| Go::Safe { kind: SafeKind::Html, s: t.into() })),
    ("safeUrl", Some(1), |a| text(&a[0]).map(|t| Go::Safe { kind: SafeKind::Url, s: t.into() })),
    ("urlUnescape", Some(1), |a| unescape(&text(&a[0])?).map(string)),
    ("stringSlice", None, |a| {
        Ok(Go::List(a.iter().map(|one| text(one).map(string)).collect::<Result<_, _>>()?))
    }),
    ("date", Some(2), |a| {
        let layout = text(&a[0])?;
        time::format_value(&a[1], &layout).map(string).ok_or_else(|| not_a_time(&a[1]))
    }),
    ("tz", Some(2), |a| {
        let zone = text(&a[0])?;
        jiff::tz::TimeZone::get(&zone).map_err(|_| format!("unknown time zone {zone}"))?;
        time::in_zone(&a[1], &zone).ok_or_else(|| not_a_time(&a[1]))
    }),
    ("since", Some(1), |a| {
        let then = time::as_time(&a[0]).ok_or_else(|| not_a_time(&a[0]))?;
        Ok(time::duration(functions::current(|c| c.context.at.as_secs_f64()) - then))
    }),
    ("now", Some(0), |_| Ok(time::time(functions::current(|c| c.context.at.as_secs_f64())))),
    ("humanizeDuration", Some(1), |a| number(&a[0]).map(|v| string(functions::humanize_duration(v)))),
    ("toJson", Some(1), |a| Ok(string(json(&a[0]).to_string()))),
    ("list", None, |a| Ok(Go::List(a.to_vec().into()))),
    ("append", None, |a| match a.split_first() {
        Some((Go::List(items), more)) => Ok(Go::List(items.iter().chain(more).cloned().collect())),
        _ => Err("append wants a list first".to_owned()),
    }),
    ("dict", None, |a| match a.len() % 2 {
        0 => {
            let pair = |two: &[Go]| Ok((Arc::from(text(&two[0])?), two[1].clone()));
            let map: Result<BTreeMap<Arc<str>, Go>, String> = a.chunks(2).map(pair).collect();
            Ok(Go::Map(Arc::new(map?)))
        }
        _ => Err("dict wants names and values in turn".to_owned()),
    }),
    ("default", Some(2), |a| Ok(if gotmpl::is_true(&a[1]) { a[1].clone() } else { a[0].clone() })),
    ("print", None, |a| Ok(string(print::print(a)))),
    ("println", None, |a| Ok(string(print::println(a)))),
    ("printf", None, print::printf),
    ("urlQueryEscape", Some(1), |a| text(&a[0]).map(|t| string(functions::escape_query(&t)))),
    ("parseDuration", Some(1), |a| {
        crate::duration::parse(&text(&a[0])?).map(|d| time::duration(d.as_secs_f64()))
    }),
];

fn is_known(name: &str) -> bool {
    FUNCTIONS.iter().any(|(known, ..)| *known == name)
}

/// Everything for `gotmpl`.
fn all(escape: Escape) -> FuncMap {
    let mut map = FuncMap::new();
    for (name, arity, body) in FUNCTIONS {
        let function: ValueFunc = Arc::new(move |args| {
            let [place, Go::String(node), args @ ..] = args else {
                return Err(TemplateError::Exec(format!("{name} without its place")));
            };
            if let Some(arity) = arity.filter(|arity| *arity != args.len()) {
                let message = format!("wrong number of args for {name}: want {arity} got {}", args.len());
                return Err(fail(place, node, message));
            }
            body(args).map_err(|message| fail(place, node, format!("error calling {name}: {message}")))
        });
        map.insert(name.to_owned(), function);
    }
    map.insert("_out".to_owned(), Arc::new(move |args| Ok(out(args.last().unwrap_or(&Go::Nil), escape))));
    map.insert("_field".to_owned(), Arc::new(|args| access(args, false)));
    map.insert("_method".to_owned(), Arc::new(|args| access(args, true)));
    let noted = |args: &[Go], answer: Go| {
        mark(args);
        Ok(answer)
    };
    map.insert("_mark".to_owned(), Arc::new(move |args| noted(args, Go::Nil)));
    map.insert(
        "_pass".to_owned(),
        Arc::new(move |args| noted(args, args.last().cloned().unwrap_or(Go::Nil))),
    );
    map.insert("_second".to_owned(), Arc::new(|args| Ok(args.last().cloned().unwrap_or(Go::Nil))));
    map
}

fn out(value: &Go, escape: Escape) -> Go {
    match (value, escape) {
        (Go::Safe { s, .. }, _) => Go::String(s.clone()),
        (value, Escape::None) => string(print::one(value)),
        (value, Escape::Html) => string(escape_html(&print::one(value))),
    }
}

/// Escapes for HTML, between tags and in quoted attributes.
pub fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&#34;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}

/// `_field place shown value name` and `_method place shown value name args…`.
fn access(args: &[Go], method: bool) -> gotmpl::Result<Go> {
    let [place, shown, value, Go::String(name), args @ ..] = args else {
        return Err(TemplateError::Exec("a field without its place".to_owned()));
    };
    let shown = shown.as_str().unwrap_or("");
    let answer = match time::method(value, name, args) {
        Some(answer) => answer,
        None => member(value, name, args, method),
    };
    answer.map_err(|message| fail(place, shown, message))
}

fn member(value: &Go, name: &str, args: &[Go], method: bool) -> Answer {
    let map = match value {
        Go::Map(map) => map,
        Go::List(items) => return of_list(items, name),
        Go::Nil => return Err(format!("nil data; no entry for key {name:?}")),
        other => return Err(format!("can't evaluate field {name} in type {}", go_type(other))),
    };
    let kind = map.get(TYPE).and_then(Go::as_str);
    match (kind, name, args) {
        (Some(kind), ..) => {
            map.get(name).cloned().ok_or_else(|| format!("can't evaluate field {name} in type *{kind}"))
        }
        (None, "SortedPairs", []) => {
            let pair = |(name, value): (&Arc<str>, &Go)| {
                object("template.Pair", [("Name", Go::String(name.clone())), ("Value", value.clone())])
            };
            Ok(Go::List(map.iter().map(pair).collect()))
        }
        (None, "Names", []) => Ok(Go::List(map.keys().map(|name| Go::String(name.clone())).collect())),
        (None, "Values", []) => Ok(Go::List(map.values().cloned().collect())),
        (None, "Remove", [Go::List(gone)]) => {
            let is_gone = |name: &str| gone.iter().any(|one| one.as_str() == Some(name));
            let kept = map.iter().filter(|(name, _)| !is_gone(name));
            Ok(Go::Map(Arc::new(kept.map(|(name, value)| (name.clone(), value.clone())).collect())))
        }
        (None, "Remove", _) => Err("wrong number of args for Remove: want 1".to_owned()),
        (None, ..) if method => Err(format!("{name} is not a method but has arguments")),
        // A label that is missing reads as the empty text.
        (None, ..) => Ok(map.get(name).cloned().unwrap_or_else(|| string(""))),
    }
}

/// `.Alerts.Firing`, `.SortedPairs.Names` and their kin.
fn of_list(items: &[Go], name: &str) -> Answer {
    let field = |name: &'static str| items.iter().filter_map(move |item| item.field(name).cloned());
    let with = |status: &str| {
        let wanted = |item: &&Go| item.field("Status").and_then(Go::as_str) == Some(status);
        Ok(Go::List(items.iter().filter(wanted).cloned().collect()))
    };
    match name {
        "Firing" => with("firing"),
        "Resolved" => with("resolved"),
        "Names" => Ok(Go::List(field("Name").collect())),
        "Values" => Ok(Go::List(field("Value").collect())),
        "String" => {
            let both: Vec<String> = field("Name")
                .zip(field("Value"))
                .map(|(n, v)| format!("{}={}", print::one(&n), print::one(&v)))
                .collect();
            Ok(string(both.join(", ")))
        }
        _ => Err(format!("can't evaluate field {name} in type template.Alerts")),
    }
}

fn join(args: &[Go]) -> Answer {
    let separator = text(&args[0])?;
    match &args[1] {
        Go::List(items) => Ok(string(items.iter().map(print::one).collect::<Vec<_>>().join(&separator))),
        Go::Nil => Ok(string("")),
        other => Err(format!("wrong type for value; expected []string; got {}", go_type(other))),
    }
}

fn not_a_time(value: &Go) -> String {
    format!("wrong type for value; expected time.Time; got {}", go_type(value))
}

/// Undoes `%41` and `+`.
fn unescape(text: &str) -> Result<String, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digits: Vec<u8> = bytes.by_ref().take(2).collect();
                let code = std::str::from_utf8(&digits).ok().filter(|d| d.len() == 2);
                let code = code.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                out.push(code.ok_or_else(|| format!("invalid URL escape in {text:?}"))?);
            }
            byte => out.push(byte),
        }
    }
    String::from_utf8(out).map_err(|_| format!("{text:?} is not UTF-8 when unescaped"))
}

fn json(value: &Go) -> serde_json::Value {
    match value {
        Go::Nil => serde_json::Value::Null,
        Go::Bool(value) => (*value).into(),
        Go::Int(value) => (*value).into(),
        Go::Uint(value) => (*value).into(),
        Go::Float(value) => (*value).into(),
        Go::List(items) => items.iter().map(json).collect(),
        Go::Map(map) if map.keys().any(|key| key.starts_with('\u{1}') && &**key != TYPE) => {
            let rfc = time::format_value(value, "2006-01-02T15:04:05.000Z07:00");
            rfc.unwrap_or_else(|| print::one(value)).into()
        }
        Go::Map(map) => {
            let kept = map.iter().filter(|(name, _)| &***name != TYPE);
            let is_object = map.contains_key(TYPE);
            let named = |name: &str| match is_object {
                true => json_name(name),
                false => name.to_owned(),
            };
            serde_json::Value::Object(kept.map(|(name, value)| (named(name), json(value))).collect())
        }
        other => print::one(other).into(),
    }
}

/// A field's name as it stands in the webhook's JSON: `GroupLabels` is `groupLabels`.
fn json_name(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
#[path = "notice_tests.rs"]
mod tests;
