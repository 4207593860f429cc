//! The derives of tradewatch-metrics; see there for how to use them.
//!
//! What can be seen in the declaration is refused here, with what to write instead. What needs the label types
//! or the other metrics of the registry is refused at registration.

use proc_macro::TokenStream;

mod label;
mod metrics;
mod names;
#[path = "../../tradewatch-metrics/src/rules.rs"]
#[allow(dead_code)] // One file for both crates; the SDK uses what is not used here.
mod rules;

/// Makes a unit-only enum a closed label.
///
/// The label's name is the type's in snake case (`OrderStatus` is `order_status`) unless
/// `#[label(name = "status")]` says otherwise; values are the variants' in snake case unless
/// `#[label(value = "…")]` does.
#[proc_macro_derive(Label, attributes(label))]
pub fn label(input: TokenStream) -> TokenStream {
    expand(input, label::derive)
}

/// Makes a struct of instruments registrable: `T::register(&registry)`, `T::descriptors()`.
///
/// On the struct: `#[metrics(prefix = "execution_gateway", service = "execution_gateway")]`. On a field:
/// a doc comment (the help), `#[buckets(0.1, 0.5)]` or `#[buckets(EDGES)]` for histograms,
/// `#[native(schema = 3, zero_threshold = 1e-9)]` for native ones, `#[labels("a", "b")]`
/// for infos, `#[metric(unit = "usd")]`, `#[metric(name = "full_name")]`, `#[metric(legacy_name = "reason")]`,
/// `#[metric(event = "…")]` (what makes it move, for the catalogue), `#[metric(expires = "10m")]` (a series that did
/// not change for that long is not shown until it does), `#[quantiles(0.5, 0.99)]` and
/// `#[metric(window = "10m", smallest = 0.000001)]` for summaries, `#[metric(timeout = "500ms")]` for observable
/// metrics, `#[metric(gauge)]` for an info typed as gauge, `#[metrics(flatten)]` for a struct of more metrics.
#[proc_macro_derive(Metrics, attributes(metrics, metric, buckets, native, quantiles, labels))]
pub fn metrics(input: TokenStream) -> TokenStream {
    expand(input, metrics::derive)
}

fn expand(
    input: TokenStream,
    derive: fn(syn::DeriveInput) -> syn::Result<proc_macro2::TokenStream>,
) -> TokenStream {
    let result = syn::parse(input).and_then(derive);
    result.unwrap_or_else(|error| error.to_compile_error()).into()
}

#[cfg(test)]
mod tests;
