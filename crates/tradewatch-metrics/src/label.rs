//! Labels as types: a closed set is an enum, an open one is interned against a budget.
//!
//! Every label value has a dense index, so a tuple of labels has one too (their product), and finding a series
//! is arithmetic instead of hashing. No label value can be misspelt, and no label can explode.

use crate::intern::Refusals;

/// A label with a fixed name and a bounded set of values.
///
/// Derive it for enums (`#[derive(Label)]`); for symbols and the like use [`open_label!`](crate::open_label).
pub trait Label: 'static {
    /// The name, as exposed.
    const NAME: &'static str;
    /// How many values there can be, [`OVERFLOW`](crate::OVERFLOW) included.
    const CARDINALITY: usize;
    /// The budget of an open label; `None` for a closed set.
    const BUDGET: Option<usize>;
    /// The dense index of this value, below [`Label::CARDINALITY`].
    fn index(&self) -> usize;
    /// The value at an index; `None` for a place of the budget that is not used yet.
    fn value_at(index: usize) -> Option<&'static str>;
    /// The index of a value given as text; `None` if it is not one of a closed set. An open set takes it in.
    fn index_of(value: &str) -> Option<usize> {
        (0..Self::CARDINALITY).find(|index| Self::value_at(*index) == Some(value))
    }
    /// The values that an open set did not take; `None` for a closed one.
    #[doc(hidden)]
    fn refusals() -> Option<&'static Refusals> {
        None
    }
}

/// What a label can be, for catalogue and documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelDescriptor {
    /// The label's name.
    pub name: String,
    /// Every value of a closed set, in order of declaration; `None` if the label is open.
    pub values: Option<Vec<String>>,
    /// How many values an open label may take before the rest becomes `__overflow__`.
    pub budget: Option<usize>,
}

/// The labels of a family: a tuple of none to four [`Label`]s.
pub trait LabelSet: 'static {
    /// The product of the labels' cardinalities; 1 for `()`.
    const CARDINALITY: usize;
    /// How many labels.
    const LEN: usize;
    /// The dense index of this combination.
    fn index(&self) -> usize;
    /// What each label can be.
    fn describe() -> Vec<LabelDescriptor>;
    /// The values at an index, in order; `None` if one of them is not in use yet.
    fn values_at(index: usize) -> Option<Vec<&'static str>>;
    /// The dense index of labels given as text, in any order; `None` if they are not these labels.
    ///
    /// As it is here it finds only what is in use, by trying every combination.
    fn index_of(labels: &[(&str, &str)]) -> Option<usize> {
        let names = Self::describe();
        let value = |name: &str| labels.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        let wanted: Vec<&str> = names.iter().map(|label| value(&label.name)).collect::<Option<_>>()?;
        let same = |index: &usize| Self::values_at(*index).is_some_and(|values| values == wanted);
        if labels.len() == wanted.len() { (0..Self::CARDINALITY).find(same) } else { None }
    }
    /// Whether one of the labels is [`OVERFLOW`](crate::OVERFLOW); what is counted there is counted once more for
    /// the family of a gauge.
    fn is_overflow(&self) -> bool {
        false
    }
    /// Name and refused values of each open label.
    #[doc(hidden)]
    fn refusals() -> Vec<(&'static str, &'static Refusals)>;
}

fn describe<L: Label>() -> LabelDescriptor {
    let closed = || (0..L::CARDINALITY).filter_map(L::value_at).map(str::to_owned).collect();
    LabelDescriptor { name: L::NAME.to_owned(), values: L::BUDGET.is_none().then(closed), budget: L::BUDGET }
}

impl LabelSet for () {
    const CARDINALITY: usize = 1;
    const LEN: usize = 0;
    #[inline(always)]
    fn index(&self) -> usize {
        0
    }
    fn describe() -> Vec<LabelDescriptor> {
        Vec::new()
    }
    fn values_at(_: usize) -> Option<Vec<&'static str>> {
        Some(Vec::new())
    }
    fn index_of(labels: &[(&str, &str)]) -> Option<usize> {
        labels.is_empty().then_some(0)
    }
    fn is_overflow(&self) -> bool {
        false
    }
    fn refusals() -> Vec<(&'static str, &'static Refusals)> {
        Vec::new()
    }
}

macro_rules! label_set {
    ($len:literal, $($label:ident $field:tt),+) => {
        impl<$($label: Label),+> LabelSet for ($($label,)+) {
            const CARDINALITY: usize = 1 $(* $label::CARDINALITY)+;
            const LEN: usize = $len;
            #[inline(always)]
            fn index(&self) -> usize {
                let mut index = 0;
                $(index = index * $label::CARDINALITY + self.$field.index();)+
                index
            }
            fn describe() -> Vec<LabelDescriptor> {
                vec![$(describe::<$label>()),+]
            }
            fn values_at(index: usize) -> Option<Vec<&'static str>> {
                let mut radix = Self::CARDINALITY;
                Some(vec![$({
                    radix /= $label::CARDINALITY;
                    $label::value_at(index / radix % $label::CARDINALITY)?
                }),+])
            }
            fn index_of(labels: &[(&str, &str)]) -> Option<usize> {
                let mut index = 0;
                $({
                    let (_, value) = labels.iter().find(|(name, _)| *name == $label::NAME)?;
                    index = index * $label::CARDINALITY + $label::index_of(value)?;
                })+
                (labels.len() == $len).then_some(index)
            }
            #[inline(always)]
            fn is_overflow(&self) -> bool {
                // Whatever else the first value of an open label may be is told apart only where it is met.
                false $(|| ($label::BUDGET.is_some()
                    && self.$field.index() == 0
                    && $label::value_at(0) == Some(crate::OVERFLOW)))+
            }
            fn refusals() -> Vec<(&'static str, &'static Refusals)> {
                [$($label::refusals().map(|refusals| ($label::NAME, refusals))),+].into_iter().flatten().collect()
            }
        }
    };
}
label_set!(1, A 0);
label_set!(2, A 0, B 1);
label_set!(3, A 0, B 1, C 2);
label_set!(4, A 0, B 1, C 2, D 3);

/// Whether a label of this name can be declared; usable in constants.
#[doc(hidden)]
pub const fn valid_label_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    if bytes.is_empty() || (bytes.len() >= 2 && bytes[0] == b'_' && bytes[1] == b'_') {
        return false;
    }
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        if !(byte == b'_' || byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit())) {
            return false;
        }
        at += 1;
    }
    true
}
