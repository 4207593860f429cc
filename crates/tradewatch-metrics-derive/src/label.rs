//! `#[derive(Label)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Data, DeriveInput, Error, Fields, LitStr, Result};

use crate::names::{is_label_name, snake_case};

/// Implements `Label` for a unit-only enum.
pub fn derive(input: DeriveInput) -> Result<TokenStream> {
    let Data::Enum(data) = &input.data else {
        return Err(Error::new_spanned(
            &input.ident,
            "a closed label is an enum; for values from outside write open_label!(pub struct Symbol(\"symbol\"), budget = 64)",
        ));
    };
    if data.variants.is_empty() {
        return Err(Error::new_spanned(&input.ident, "a label needs at least one value; add a variant"));
    }
    let name = match attribute(&input.attrs, "name")? {
        Some(name) => name,
        None => LitStr::new(&snake_case(&input.ident.to_string()), input.ident.span()),
    };
    if !is_label_name(&name.value()) {
        return Err(Error::new_spanned(
            &name,
            "a label name is [a-zA-Z_][a-zA-Z0-9_]* and does not begin with two underscores",
        ));
    }
    let mut values: Vec<LitStr> = Vec::new();
    let mut variants = Vec::new();
    for variant in &data.variants {
        if !matches!(variant.fields, Fields::Unit) {
            return Err(Error::new_spanned(variant, "a label value carries no data; remove the fields"));
        }
        let value = match attribute(&variant.attrs, "value")? {
            Some(value) => value,
            None => LitStr::new(&snake_case(&variant.ident.to_string()), variant.ident.span()),
        };
        if value.value().is_empty() {
            return Err(Error::new_spanned(
                &value,
                "an empty label value is no label to Prometheus; name it",
            ));
        }
        if crate::rules::is_identifier(&value.value()) {
            return Err(Error::new_spanned(
                &value,
                "the value names one thing, as an id does, and not a kind of things; name the kind",
            ));
        }
        if values.iter().any(|earlier| earlier.value() == value.value()) {
            return Err(Error::new_spanned(&value, "another variant has this value already"));
        }
        values.push(value);
        variants.push(&variant.ident);
    }
    let ident = &input.ident;
    let indices = 0..variants.len();
    let count = variants.len();
    Ok(quote! {
        impl ::tradewatch_metrics::Label for #ident {
            const NAME: &'static str = #name;
            const CARDINALITY: usize = #count;
            const BUDGET: ::core::option::Option<usize> = ::core::option::Option::None;
            #[inline(always)]
            fn index(&self) -> usize {
                match self { #(Self::#variants => #indices),* }
            }
            fn value_at(index: usize) -> ::core::option::Option<&'static str> {
                const VALUES: [&str; #count] = [#(#values),*];
                VALUES.get(index).copied()
            }
        }
    })
}

/// The string of `#[label(key = "…")]`.
fn attribute(attrs: &[Attribute], key: &str) -> Result<Option<LitStr>> {
    let mut found = None;
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("label")) {
        attr.parse_nested_meta(|meta| {
            if !meta.path.is_ident(key) {
                return Err(meta.error(format!("write #[label({key} = \"…\")] here")));
            }
            found = Some(meta.value()?.parse()?);
            Ok(())
        })?;
    }
    Ok(found)
}
