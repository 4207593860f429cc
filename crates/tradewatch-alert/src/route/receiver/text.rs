//! Templated texts of receivers.

use std::collections::BTreeMap;

use crate::template::notice::{Notice, Set};
use crate::yaml::{Fields, Node, Reader};

/// One templated text.
#[derive(Clone, Debug)]
pub struct Text {
    /// As it stands in the file, or our own where the file has none.
    pub text: String,
    /// Compiled, once the template files are read.
    pub(in crate::route) notice: Option<Notice>,
    /// Where it stands; `None` for our own.
    pub(in crate::route) node: Option<Node>,
}

impl Text {
    /// Our own.
    pub(super) fn own(text: &str) -> Text {
        Text { text: text.to_owned(), notice: None, node: None }
    }

    pub(super) fn read(node: &Node, what: &str, reader: &mut Reader<'_>) -> Option<Text> {
        let text = reader.text(node, what)?;
        Some(Text { text, notice: None, node: Some(node.clone()) })
    }

    /// The compiled text; `None` before [`crate::route::Config::compile`].
    pub fn notice(&self) -> Option<&Notice> {
        self.notice.as_ref()
    }

    /// Whether the file has it.
    pub fn is_set(&self) -> bool {
        self.node.is_some()
    }

    /// Compiles it; the error has a byte offset in the text.
    pub(in crate::route) fn compile(&mut self, set: &Set) -> Result<(), crate::template::CompileError> {
        self.notice = Some(set.compile(&self.text)?);
        Ok(())
    }
}

/// Templated texts by the name of their field.
#[derive(Clone, Debug, Default)]
pub struct Texts(BTreeMap<String, Text>);

impl Texts {
    /// Takes the fields of `table`, each with the text that stands for it when it is absent.
    pub(super) fn read(
        fields: &mut Fields<'_>,
        table: &[(&'static str, &str)],
        reader: &mut Reader<'_>,
    ) -> Texts {
        let mut texts = BTreeMap::new();
        for (name, default) in table {
            let text = fields.take(name).and_then(|node| Text::read(node, name, reader));
            texts.insert((*name).to_owned(), text.unwrap_or_else(|| Text::own(default)));
        }
        Texts(texts)
    }

    /// A mapping with names of the user's choice.
    pub(super) fn of_map(node: &Node, what: &'static str, reader: &mut Reader<'_>) -> Texts {
        let pairs = reader.pairs(node, what).into_iter();
        Texts(pairs.map(|(name, text, at)| (name, Text { text, notice: None, node: Some(at) })).collect())
    }

    /// Puts our own text in where the user has none of that name.
    pub(super) fn default(&mut self, name: &str, text: &str) {
        self.0.entry(name.to_owned()).or_insert_with(|| Text::own(text));
    }

    /// The text of a field.
    pub fn get(&self, name: &str) -> Option<&Text> {
        self.0.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Text)> {
        self.0.iter().map(|(name, text)| (name.as_str(), text))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Text> {
        self.0.values_mut()
    }
}

impl Texts {
    /// Changes the text of one field.
    pub(super) fn iter_mut_named(&mut self, name: &str, change: impl FnOnce(&mut Text)) {
        if let Some(text) = self.0.get_mut(name) {
            change(text);
        }
    }
}
