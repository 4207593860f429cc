//! Reading `alertmanager.yml`.

use std::collections::BTreeSet;
use std::time::Duration;

use tradewatch_tsdb::{MatchOp, Matcher};

use super::interval::{NamedInterval, TimeInterval};
use super::receiver::Globals;
use super::{
    Calendars, Config, GroupBy, InhibitRule, InhibitSource, Receiver, Route, Secret, equal_matcher, matchers,
    redact,
};
use crate::error::ConfigError;
use crate::yaml::{self, Fields, Node, Reader};

/// Depth of the route tree.
const DEPTH_MAX: usize = 64;

pub(super) fn parse(path: &str, text: &str) -> Result<(Config, Vec<ConfigError>), Vec<ConfigError>> {
    let (root, _) = yaml::parse(path, text).map_err(|e| vec![e])?;
    let mut reader = Reader::new(path, text);
    let config = match &root {
        Some(root) => read(root, &mut reader).map(|mut config| {
            config.redacted = redact::print(root);
            config.path = path.to_owned();
            config.source = Secret(text.to_owned());
            config
        }),
        None => {
            reader.error_at((1, 1), "no route provided in config", "add route and receivers");
            None
        }
    };
    match config {
        Some(config) if reader.failures() == 0 => Ok((config, reader.sorted())),
        _ => Err(reader.sorted()),
    }
}

fn read(root: &Node, reader: &mut Reader<'_>) -> Option<Config> {
    let mut fields = reader.fields(root, "alertmanager.yml")?;
    let (globals, resolve_timeout) =
        fields.take("global").and_then(|node| read_global(node, reader)).unwrap_or_default();
    let templates = fields.take("templates").map(|n| reader.texts(n, "templates")).unwrap_or_default();
    let mut intervals = Vec::new();
    for section in ["time_intervals", "mute_time_intervals"] {
        if let Some(node) = fields.take(section) {
            for item in reader.list(node, section) {
                read_interval(item, &mut intervals, reader);
            }
        }
    }
    let mut receivers: Vec<Receiver> = Vec::new();
    if let Some(node) = fields.take("receivers") {
        for item in reader.list(node, "receivers") {
            let Some(receiver) = Receiver::read(item, &globals, reader) else { continue };
            if receivers.iter().any(|r| r.name == receiver.name) {
                let message = format!("notification config name {:?} is not unique", receiver.name);
                reader.error(item, message, "give each receiver its own name");
            }
            receivers.push(receiver);
        }
    }
    let inhibit_rules = match fields.take("inhibit_rules") {
        Some(node) => {
            reader.list(node, "inhibit_rules").iter().filter_map(|n| read_inhibition(n, reader)).collect()
        }
        None => Vec::new(),
    };
    let mut routes = Vec::new();
    match fields.take("route") {
        Some(node) => {
            let mut tree = Tree { routes: &mut routes, receivers: &receivers, intervals: &intervals };
            tree.read(node, None, 0, 0, reader);
        }
        None => reader.error(root, "no route provided in config", "add route with a receiver"),
    }
    for section in ["tracing", "event_recorder"] {
        if let Some((key, _)) = fields.take_entry(section) {
            reader.warn(key, format!("{section} is not used"), "");
        }
    }
    fields.finish(reader);
    (!routes.is_empty()).then_some(Config {
        routes,
        inhibit_rules,
        receivers,
        intervals,
        resolve_timeout: resolve_timeout.unwrap_or(Duration::from_secs(300)),
        templates,
        calendars: Calendars::default(),
        redacted: String::new(),
        path: String::new(),
        source: Secret::default(),
    })
}

fn read_global(node: &Node, reader: &mut Reader<'_>) -> Option<(Globals, Option<Duration>)> {
    let mut fields = reader.fields(node, "global")?;
    let timeout = fields.take("resolve_timeout").and_then(|n| reader.duration(n, "resolve_timeout"));
    let globals = Globals::read(&mut fields, reader);
    fields.finish(reader);
    Some((globals, timeout))
}

fn read_interval(node: &Node, intervals: &mut Vec<NamedInterval>, reader: &mut Reader<'_>) {
    let Some(mut fields) = reader.fields(node, "a named time interval") else { return };
    let name = fields.take("name").and_then(|n| reader.text(n, "name")).unwrap_or_default();
    let parts = match fields.take("time_intervals") {
        Some(list) => {
            reader.list(list, "time_intervals").iter().map(|n| TimeInterval::read(n, reader)).collect()
        }
        None => Vec::new(),
    };
    fields.finish(reader);
    if name.is_empty() {
        reader.error(node, "missing name in time interval", "add name");
    } else if intervals.iter().any(|i| i.name == name) {
        reader.error(node, format!("time interval {name:?} is not unique"), "give each its own name");
    } else {
        intervals.push(NamedInterval { name, parts });
    }
}

fn read_inhibition(node: &Node, reader: &mut Reader<'_>) -> Option<InhibitRule> {
    let mut fields = reader.fields(node, "an inhibition rule")?;
    let matchers = read_matchers(&mut fields, "source_match", "source_match_re", "source_matchers", reader);
    let target = read_matchers(&mut fields, "target_match", "target_match_re", "target_matchers", reader);
    let equal = fields.take("equal").map(|n| reader.texts(n, "equal")).unwrap_or_default();
    fields.take("name");
    let sources = match fields.take("sources") {
        None => vec![InhibitSource { matchers, equal }],
        Some(list) => {
            if !matchers.is_empty() || !equal.is_empty() {
                reader.error(
                    list,
                    "sources cannot be combined with source_match, source_match_re, source_matchers, or equal",
                    "move them into sources",
                );
            }
            reader.list(list, "sources").iter().filter_map(|n| read_source(n, reader)).collect()
        }
    };
    fields.finish(reader);
    Some(InhibitRule { sources, target, line: node.line })
}

fn read_source(node: &Node, reader: &mut Reader<'_>) -> Option<InhibitSource> {
    let mut fields = reader.fields(node, "a source of an inhibition rule")?;
    let matchers = match fields.take("matchers") {
        Some(list) => read_matcher_list(list, "matchers", reader),
        None => Vec::new(),
    };
    let equal = fields.take("equal").map(|n| reader.texts(n, "equal")).unwrap_or_default();
    fields.finish(reader);
    if matchers.iter().all(|matcher| matcher.matches("")) {
        let message = "a source needs a matcher that does not match the empty string";
        reader.error(node, message, "write for example matchers: [alertname=\"Lost\"]");
    }
    Some(InhibitSource { matchers, equal })
}

/// The three ways to write matchers: `match`, `match_re` and `matchers`.
fn read_matchers(
    fields: &mut Fields<'_>,
    equal: &'static str,
    regex: &'static str,
    list: &'static str,
    reader: &mut Reader<'_>,
) -> Vec<Matcher> {
    let mut found = Vec::new();
    for (key, op) in [(equal, MatchOp::Equal), (regex, MatchOp::Regex)] {
        let Some(node) = fields.take(key) else { continue };
        for (name, value, at) in reader.pairs(node, key) {
            let matcher = match op {
                MatchOp::Equal => equal_matcher(&name, &value),
                _ => Matcher::new(&name, op, &value).map_err(|e| e.to_string()),
            };
            match matcher {
                Ok(matcher) => found.push(matcher),
                Err(message) => reader.error(&at, format!("{key}: {message}"), ""),
            }
        }
    }
    if let Some(node) = fields.take(list) {
        found.extend(read_matcher_list(node, list, reader));
    }
    // Alertmanager sorts them, and so the group keys agree.
    found.sort_by(|a, b| (a.name(), a.value(), a.op()).cmp(&(b.name(), b.value(), b.op())));
    found
}

fn read_matcher_list(node: &Node, what: &str, reader: &mut Reader<'_>) -> Vec<Matcher> {
    let mut found = Vec::new();
    for item in reader.list(node, what) {
        match matchers::parse(item.text().unwrap_or("")) {
            Ok(matchers) => found.extend(matchers),
            Err(message) => {
                reader.error(item, format!("{what}: {message}"), "write for example severity=\"critical\"")
            }
        }
    }
    found
}

struct Tree<'a> {
    routes: &'a mut Vec<Route>,
    receivers: &'a [Receiver],
    intervals: &'a [NamedInterval],
}

impl Tree<'_> {
    /// Reads one route and those below it; gives its position.
    fn read(
        &mut self,
        node: &Node,
        parent: Option<usize>,
        index: usize,
        depth: usize,
        reader: &mut Reader<'_>,
    ) -> Option<usize> {
        if depth > DEPTH_MAX {
            reader.error(node, format!("routes nest deeper than {DEPTH_MAX}"), "flatten the tree");
            return None;
        }
        let mut fields = reader.fields(node, "a route")?;
        let matchers = read_matchers(&mut fields, "match", "match_re", "matchers", reader);
        if parent.is_none() && !matchers.is_empty() {
            reader.error(node, "root route must not have any matchers", "move them to a child route");
        }
        let mut route = self.inherit(parent, matchers, index, node.line);
        match fields.take("receiver") {
            Some(at) => {
                route.receiver = reader.text(at, "receiver").unwrap_or_default();
                self.check_receiver(&route.receiver, at, reader);
            }
            None if parent.is_none() => {
                reader.error(node, "root route must specify a default receiver", "add receiver")
            }
            None => {}
        }
        if let Some(at) = fields.take("group_by") {
            route.group_by = read_group_by(at, reader);
        }
        self.read_times(&mut fields, &mut route, reader);
        if let Some(at) = fields.take("continue") {
            route.continues = reader.bool(at, "continue").unwrap_or(false);
            if parent.is_none() && route.continues {
                reader.error(at, "cannot have continue in root route", "remove it");
            }
        }
        route.mute_intervals = self.read_intervals(&mut fields, "mute_time_intervals", parent, reader);
        route.active_intervals = self.read_intervals(&mut fields, "active_time_intervals", parent, reader);
        let children = fields.take("routes");
        fields.finish(reader);
        let at = self.routes.len();
        self.routes.push(route);
        if let Some(children) = children {
            for (index, child) in reader.list(children, "routes").iter().enumerate() {
                if let Some(child) = self.read(child, Some(at), index, depth + 1, reader) {
                    self.routes[at].children.push(child);
                }
            }
        }
        Some(at)
    }

    fn inherit(&self, parent: Option<usize>, matchers: Vec<Matcher>, index: usize, line: usize) -> Route {
        let own = matchers::print(&matchers);
        match parent.map(|at| &self.routes[at]) {
            Some(parent) => Route {
                key: format!("{}/{own}", parent.key),
                id: format!("{}/{own}/{index}", parent.id),
                matchers,
                continues: false,
                mute_intervals: Vec::new(),
                active_intervals: Vec::new(),
                children: Vec::new(),
                line,
                ..parent.clone()
            },
            None => Route {
                key: own.clone(),
                id: own,
                receiver: String::new(),
                matchers,
                group_by: GroupBy::Labels(BTreeSet::new()),
                group_wait: Duration::from_secs(30),
                group_interval: Duration::from_secs(300),
                repeat_interval: Duration::from_secs(4 * 3600),
                continues: false,
                mute_intervals: Vec::new(),
                active_intervals: Vec::new(),
                children: Vec::new(),
                line,
            },
        }
    }

    fn read_times(&self, fields: &mut Fields<'_>, route: &mut Route, reader: &mut Reader<'_>) {
        if let Some(wait) = fields.take("group_wait").and_then(|n| reader.duration(n, "group_wait")) {
            route.group_wait = wait;
        }
        for (name, place) in
            [("group_interval", &mut route.group_interval), ("repeat_interval", &mut route.repeat_interval)]
        {
            let Some(at) = fields.take(name) else { continue };
            match reader.duration(at, name) {
                Some(Duration::ZERO) => {
                    reader.error(at, format!("{name} cannot be zero"), "write for example 1s")
                }
                Some(value) => *place = value,
                None => {}
            }
        }
    }

    fn read_intervals(
        &self,
        fields: &mut Fields<'_>,
        name: &'static str,
        parent: Option<usize>,
        reader: &mut Reader<'_>,
    ) -> Vec<String> {
        let Some(node) = fields.take(name) else { return Vec::new() };
        if parent.is_none() {
            reader.error(node, format!("root route must not have any {name}"), "move them to a child route");
        }
        for item in reader.list(node, name) {
            let wanted = item.text().unwrap_or("");
            if !self.intervals.iter().any(|i| i.name == wanted) {
                reader.error(
                    item,
                    format!("undefined time interval {wanted:?} used in route"),
                    "define it under time_intervals",
                );
            }
        }
        reader.texts(node, name)
    }

    fn check_receiver(&self, name: &str, at: &Node, reader: &mut Reader<'_>) {
        if self.receivers.iter().any(|r| r.name == name) {
            return;
        }
        let near = self.receivers.iter().min_by_key(|r| yaml::distance(&r.name, name));
        let fix = match near {
            Some(near) if yaml::distance(&near.name, name) <= 3 => format!("did you mean {:?}?", near.name),
            _ => "define it under receivers".to_owned(),
        };
        reader.error(at, format!("undefined receiver {name:?} used in route"), fix);
    }
}

fn read_group_by(node: &Node, reader: &mut Reader<'_>) -> GroupBy {
    let names = reader.texts(node, "group_by");
    let mut set = BTreeSet::new();
    for name in &names {
        if !set.insert(name.clone()) {
            reader.error(node, format!("duplicated label {name:?} in group_by"), "keep one");
        }
    }
    if set.contains("...") {
        if set.len() > 1 {
            reader.error(
                node,
                "cannot have wildcard group_by (`...`) and other labels at the same time",
                "keep one",
            );
        }
        return GroupBy::All;
    }
    GroupBy::Labels(set)
}
