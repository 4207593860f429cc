//! Labels as types: a closed set is an enum, an open one is interned against a budget.
//!
//! Every label value has a dense index, so a tuple of labels has one too (their product), and finding a series
//! is arithmetic instead of hashing. No label value can be misspelt, and no label can explode.

use std::sync::atomic::AtomicU64;

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
    /// How many times a value did not fit into the budget; `None` for a closed set.
    fn overflows() -> Option<&'static AtomicU64> {
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
    /// Name and overflow count of each open label.
    fn overflows() -> Vec<(&'static str, &'static AtomicU64)>;
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
    fn overflows() -> Vec<(&'static str, &'static AtomicU64)> {
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
            fn overflows() -> Vec<(&'static str, &'static AtomicU64)> {
                [$($label::overflows().map(|count| ($label::NAME, count))),+].into_iter().flatten().collect()
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
