//! One pass over the syntax tree that makes `gotmpl` behave as Go with Prometheus' data.
//!
//! - Every printing action ends in `| _out`, which prints numbers and times as Go does.
//! - Every field access becomes `_field place value name`: a label that is missing reads as the
//!   empty text, methods of times work, and an error knows its place.
//! - Every call of our functions carries its place first; built-in functions are marked before.
//! - Unknown functions and variables are found here, since `gotmpl` would find them only when run.

use std::sync::Arc;

use gotmpl::parse::{ActionNode, CommandNode, Expr, ListNode, Node, Number, PipeNode, Pos, TemplateNode};

use super::pack_place;

const BUILTINS: [&str; 14] =
    ["not", "len", "index", "slice", "html", "js", "urlquery", "call", "eq", "ne", "lt", "le", "gt", "ge"];

pub(super) struct Rewriter<'a> {
    source: &'a str,
    /// Whether a template may call a function of ours.
    is_known: fn(&str) -> bool,
    /// Variables in scope, innermost last.
    variables: Vec<String>,
    /// The first thing wrong.
    pub error: Option<(usize, String)>,
}

impl<'a> Rewriter<'a> {
    pub fn new(source: &'a str, is_known: fn(&str) -> bool) -> Rewriter<'a> {
        Rewriter { source, is_known, variables: Vec::new(), error: None }
    }

    /// Rewrites one template, in which only `known` variables exist at first.
    pub fn body(&mut self, list: &mut ListNode, known: &[&str]) {
        self.variables = known.iter().map(|name| (*name).to_owned()).collect();
        self.list(list);
    }

    fn fail(&mut self, offset: usize, message: String) {
        self.error.get_or_insert((offset, message));
    }

    fn list(&mut self, list: &mut ListNode) {
        let mut nodes = Vec::with_capacity(list.nodes.len());
        for mut node in std::mem::take(&mut list.nodes) {
            match &mut node {
                Node::List(list) => self.list(list),
                Node::Action(action) => {
                    self.pipe(&mut action.pipe);
                    if action.pipe.decl.is_empty() {
                        action.pipe.commands.push(call(action.pos, "_out", Vec::new()));
                    }
                }
                Node::If(branch) | Node::With(branch) | Node::Range(branch) => {
                    let outer = self.variables.len();
                    self.pipe(&mut branch.pipe);
                    self.list(&mut branch.body);
                    self.variables.truncate(outer);
                    if let Some(body) = &mut branch.else_body {
                        self.list(body);
                        self.variables.truncate(outer);
                    }
                }
                Node::Template(template) => {
                    nodes.push(self.marked(template));
                    if let Some(pipe) = &mut template.pipe {
                        self.pipe(pipe);
                    }
                }
                Node::Define(define) => self.list(&mut define.body),
                Node::Text(_) | Node::Break(_) | Node::Continue(_) => {}
            }
            nodes.push(node);
        }
        list.nodes = nodes;
    }

    /// An action that prints nothing and marks the place of a `{{template}}`, which may not exist.
    fn marked(&self, template: &TemplateNode) -> Node {
        let at = template.pos;
        let name = self.source[at.offset..].find(['"', '`']).unwrap_or(0);
        let arguments = match &template.pipe {
            Some(pipe) => format!(" {}", self.shown_pipe(pipe)),
            None => String::new(),
        };
        let shown = format!("{{{{template {:?}{arguments}}}}}", &*template.name);
        let place = self.place(Pos::new(at.offset + name, at.line));
        let mark = call(at, "_mark", vec![place, text(at, ""), text(at, &shown)]);
        let commands = vec![mark, call(at, "_out", Vec::new())];
        Node::Action(ActionNode { pos: at, pipe: pipeline(at, commands) })
    }

    fn pipe(&mut self, pipe: &mut PipeNode) {
        let commands = std::mem::take(&mut pipe.commands);
        for (index, mut command) in commands.into_iter().enumerate() {
            self.command(&mut command, index > 0, &mut pipe.commands);
        }
        for name in &pipe.decl {
            if !pipe.is_assign {
                self.variables.push(name.to_string());
            } else if !self.variables.iter().any(|known| known == &**name) {
                self.error.get_or_insert((pipe.pos.offset, format!("undefined variable {:?}", &**name)));
            }
        }
    }

    /// Rewrites one command and appends what it becomes.
    fn command(&mut self, command: &mut CommandNode, piped: bool, out: &mut Vec<CommandNode>) {
        let pos = command.pos;
        match command.args.first() {
            Some(Expr::Identifier(at, name)) => {
                let (at, name) = (*at, name.to_string());
                let shown = self.shown_command(command);
                for arg in command.args.iter_mut().skip(1) {
                    self.expr(arg);
                }
                if (self.is_known)(&name) {
                    command.args.splice(1..1, [self.place(at), text(at, &shown)]);
                } else if name == "and" || name == "or" {
                    // Left as they are: they decide themselves what to evaluate.
                } else if BUILTINS.contains(&name.as_str()) {
                    let mark = vec![self.place(at), text(at, &name), text(at, &shown)];
                    if piped {
                        out.push(call(at, "_pass", mark));
                    } else {
                        let inner = CommandNode { pos, args: std::mem::take(&mut command.args) };
                        command.args =
                            call(at, "_second", vec![nested(at, call(at, "_mark", mark)), nested(at, inner)])
                                .args;
                    }
                } else {
                    self.fail(at.offset, format!("function {name:?} not defined"));
                }
            }
            Some(Expr::Field(..) | Expr::Variable(..) | Expr::Chain(..))
                if command.args.len() > 1 || piped =>
            {
                self.method(command);
            }
            _ => command.args.iter_mut().for_each(|arg| self.expr(arg)),
        }
        out.push(CommandNode { pos, args: std::mem::take(&mut command.args) });
    }

    /// `$t.Format "15:04"`: the last field is a method, the rest are its arguments.
    fn method(&mut self, command: &mut CommandNode) {
        let mut args = std::mem::take(&mut command.args);
        let mut first = args.remove(0);
        let at = first.pos();
        let shown = self.shown(&first);
        let place = self.place(chained(&first));
        let name = match &mut first {
            Expr::Field(_, names) | Expr::Variable(_, _, names) | Expr::Chain(_, _, names) => names.pop(),
            _ => None,
        };
        let Some(name) = name else {
            self.fail(at.offset, format!("can't give argument to non-function {shown}"));
            return;
        };
        if let Expr::Field(pos, names) = &first
            && names.is_empty()
        {
            first = Expr::Dot(*pos);
        }
        self.expr(&mut first);
        args.iter_mut().for_each(|arg| self.expr(arg));
        let mut full = vec![place, text(at, &shown), first, text(at, &name)];
        full.extend(args);
        command.args = call(at, "_method", full).args;
    }

    fn expr(&mut self, expr: &mut Expr) {
        let shown = self.shown(expr);
        let at = expr.pos();
        let place = self.place(chained(expr));
        let (base, names) = match expr {
            Expr::Field(pos, names) => (Expr::Dot(*pos), std::mem::take(names)),
            Expr::Variable(pos, name, names) => {
                if !self.variables.iter().any(|known| known == &**name) {
                    self.error.get_or_insert((pos.offset, format!("undefined variable {:?}", &**name)));
                }
                if names.is_empty() {
                    return;
                }
                (Expr::Variable(*pos, name.clone(), Vec::new()), std::mem::take(names))
            }
            Expr::Chain(_, inner, names) => {
                self.expr(inner);
                ((**inner).clone(), std::mem::take(names))
            }
            Expr::Pipe(_, pipe) => {
                self.pipe(pipe);
                return;
            }
            Expr::Identifier(pos, _) => {
                let mut command = CommandNode { pos: *pos, args: vec![expr.clone()] };
                let mut commands = Vec::new();
                self.command(&mut command, false, &mut commands);
                *expr = Expr::Pipe(at, pipeline(at, commands));
                return;
            }
            _ => return,
        };
        *expr = names.iter().fold(base, |value, name| {
            nested(at, call(at, "_field", vec![place.clone(), text(at, &shown), value, text(at, name)]))
        });
    }

    fn place(&self, pos: Pos) -> Expr {
        Expr::Number(pos, Number::Int(pack_place(self.source, pos.offset) as i64))
    }

    /// A node as Go prints it.
    fn shown(&self, expr: &Expr) -> String {
        let joined = |names: &[_]| names.iter().map(|n: &_| format!(".{n}")).collect::<String>();
        match expr {
            Expr::Dot(_) => ".".to_owned(),
            Expr::Field(_, names) => joined(names),
            Expr::Variable(_, name, names) => format!("{name}{}", joined(names)),
            Expr::Chain(_, inner, names) => format!("{}{}", self.shown(inner), joined(names)),
            Expr::Identifier(_, name) => name.to_string(),
            Expr::Pipe(_, pipe) => format!("({})", self.shown_pipe(pipe)),
            Expr::String(_, text) => format!("{text:?}"),
            Expr::Number(_, Number::Int(value)) => value.to_string(),
            Expr::Number(_, Number::Uint(value)) => value.to_string(),
            Expr::Number(_, Number::Float(value)) => super::format_go_float(*value),
            Expr::Bool(_, value) => value.to_string(),
            Expr::Nil(_) => "nil".to_owned(),
        }
    }

    fn shown_pipe(&self, pipe: &PipeNode) -> String {
        pipe.commands.iter().map(|command| self.shown_command(command)).collect::<Vec<_>>().join(" | ")
    }

    fn shown_command(&self, command: &CommandNode) -> String {
        command.args.iter().map(|arg| self.shown(arg)).collect::<Vec<_>>().join(" ")
    }
}

/// Where Go places a chain of fields: at the first field behind its beginning.
fn chained(expr: &Expr) -> Pos {
    let at = expr.pos();
    match expr {
        Expr::Variable(_, name, names) if !names.is_empty() => Pos::new(at.offset + name.len(), at.line),
        Expr::Field(_, names) if names.len() > 1 => Pos::new(at.offset + 1 + names[0].len(), at.line),
        _ => at,
    }
}

/// An `{{end}}` or `{{else}}` that closes nothing, at which `gotmpl` would silently end.
pub(super) fn stray(source: &str) -> Option<(usize, String)> {
    let mut depth = 0usize;
    let mut at = 0;
    while let Some(found) = source[at..].find("{{") {
        let start = at + found + 2;
        let inner = source[start..].trim_start_matches('-').trim_start();
        at = start;
        if inner.starts_with("/*") {
            at = source[start..].find("*/").map_or(source.len(), |end| start + end);
            continue;
        }
        let word = inner.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or("");
        match word {
            "if" | "range" | "with" | "define" | "block" => depth += 1,
            "else" | "end" if depth == 0 => return Some((start - 2, format!("unexpected {{{{{word}}}}}"))),
            "end" => depth -= 1,
            _ => {}
        }
    }
    None
}

fn call(pos: Pos, function: &str, args: Vec<Expr>) -> CommandNode {
    let mut all = vec![Expr::Identifier(pos, function.into())];
    all.extend(args);
    CommandNode { pos, args: all }
}

fn text(pos: Pos, text: &str) -> Expr {
    Expr::String(pos, Arc::from(text))
}

fn pipeline(pos: Pos, commands: Vec<CommandNode>) -> PipeNode {
    PipeNode { pos, decl: Vec::new(), commands, is_assign: false }
}

fn nested(pos: Pos, command: CommandNode) -> Expr {
    Expr::Pipe(pos, pipeline(pos, vec![command]))
}
