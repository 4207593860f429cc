//! `#[derive(Metrics)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::punctuated::Punctuated;
use syn::{
    Attribute, Data, DeriveInput, Error, Expr, ExprLit, ExprUnary, Field, Fields, Ident, Lit, LitStr, Meta,
    Result, Token, Type, UnOp,
};

use crate::names::is_metric_name;
use crate::rules;

/// Implements `Metrics` for a struct of instruments.
pub fn derive(input: DeriveInput) -> Result<TokenStream> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(&input.ident, "metrics are declared as the fields of a struct"));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new_spanned(
            &input.ident,
            "the fields need names: they become the metrics' names",
        ));
    };
    let options = Options::parse(&input.attrs)?;
    let mut names: Vec<&Ident> = Vec::new();
    let mut creates = Vec::new();
    let mut describes = Vec::new();
    for field in &fields.named {
        let ident = field.ident.as_ref().expect("named fields have names");
        let (create, describe) = member(field, ident, &options)?;
        names.push(ident);
        creates.push(create);
        describes.push(describe);
    }
    let ident = &input.ident;
    let service = option(&options.service);
    Ok(quote! {
        impl ::tradewatch_metrics::Metrics for #ident {
            fn descriptors() -> ::std::vec::Vec<::tradewatch_metrics::Descriptor> {
                let service: ::core::option::Option<&str> = #service;
                let mut out = ::std::vec::Vec::new();
                #(#describes)*
                out
            }
            fn register(
                registry: &::tradewatch_metrics::Registry,
            ) -> ::core::result::Result<Self, ::tradewatch_metrics::RegisterError> {
                let mut batch = registry.batch(::core::option::Option::None);
                let this = <Self as ::tradewatch_metrics::Metrics>::create(&mut batch);
                batch.commit()?;
                ::core::result::Result::Ok(this)
            }
            fn create(batch: &mut ::tradewatch_metrics::Batch<'_>) -> Self {
                let outer = batch.enter(#service);
                let this = Self { #(#names: #creates),* };
                batch.leave(outer);
                this
            }
        }

        #[allow(dead_code)]
        impl #ident {
            /// Registers the metrics; see [`tradewatch_metrics::Metrics::register`].
            pub fn register(
                registry: &::tradewatch_metrics::Registry,
            ) -> ::core::result::Result<Self, ::tradewatch_metrics::RegisterError> {
                <Self as ::tradewatch_metrics::Metrics>::register(registry)
            }

            /// What is declared; see [`tradewatch_metrics::Metrics::descriptors`].
            pub fn descriptors() -> ::std::vec::Vec<::tradewatch_metrics::Descriptor> {
                <Self as ::tradewatch_metrics::Metrics>::descriptors()
            }
        }
    })
}

/// `#[metrics(…)]` of the struct.
#[derive(Default)]
struct Options {
    prefix: Option<LitStr>,
    service: Option<LitStr>,
}

impl Options {
    fn parse(attrs: &[Attribute]) -> Result<Options> {
        let mut options = Options::default();
        for attr in attrs.iter().filter(|attr| attr.path().is_ident("metrics")) {
            attr.parse_nested_meta(|meta| {
                if meta.path.is_ident("prefix") {
                    options.prefix = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("service") {
                    options.service = Some(meta.value()?.parse()?);
                } else {
                    return Err(meta.error("write #[metrics(prefix = \"…\", service = \"…\")] here"));
                }
                Ok(())
            })?;
        }
        if let Some(prefix) = options.prefix.as_ref().filter(|prefix| !is_metric_name(&prefix.value())) {
            return Err(Error::new_spanned(
                prefix,
                "a prefix is [a-zA-Z_:][a-zA-Z0-9_:]*, without the last underscore",
            ));
        }
        Ok(options)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
    Summary,
    NativeHistogram,
    Info,
}

/// How the field's instrument is made, and how it is described.
fn member(field: &Field, ident: &Ident, options: &Options) -> Result<(TokenStream, TokenStream)> {
    let ty = &field.ty;
    if is_flatten(field)? {
        let create = quote! { <#ty as ::tradewatch_metrics::Metrics>::create(batch) };
        let describe = quote! {
            out.extend(<#ty as ::tradewatch_metrics::Metrics>::descriptors().into_iter().map(|mut descriptor| {
                if descriptor.service.is_none() {
                    descriptor.service = service.map(::std::borrow::ToOwned::to_owned);
                }
                descriptor
            }));
        };
        return Ok((create, describe));
    }
    let spec = spec(field, ident, options)?;
    let create = quote! {
        <#ty as ::tradewatch_metrics::Instrument>::create(batch, &#spec)
    };
    let describe = quote! {
        out.push(<#ty as ::tradewatch_metrics::Instrument>::descriptor(
            &#spec,
            service.map(::std::borrow::ToOwned::to_owned),
        ));
    };
    Ok((create, describe))
}

fn spec(field: &Field, ident: &Ident, options: &Options) -> Result<TokenStream> {
    let kind = kind(&field.ty)?;
    let help = help(&field.attrs);
    if help.is_empty() {
        return Err(Error::new_spanned(ident, "write a doc comment: it becomes the metric's help text"));
    }
    let settings = Settings::parse(&field.attrs)?;
    let name = full_name(ident, options, &settings)?;
    let unit = check_name(&name, kind, &settings)?;
    let buckets = buckets(field, ident, kind, &unit)?;
    let native = native(field, kind)?;
    let info_labels = info_labels(field, ident, kind)?;
    let quantiles = quantiles(field, ident, kind)?;
    let instrument = instrument(&field.ty);
    settings.check_place(kind, &instrument)?;
    let as_gauge = settings.gauge.is_some();
    if let Some(gauge) = settings.gauge.filter(|_| kind != Kind::Info) {
        return Err(Error::new_spanned(
            gauge,
            "#[metric(gauge)] is for an Info; the type says gauge already",
        ));
    }
    let (unit, legacy) = (option(&settings.unit), option(&settings.legacy_name));
    let event = option(&settings.event);
    let prefix = option(&options.prefix);
    let duration = |setting: &Option<Duration>| match setting {
        Some(Duration { millis, .. }) => {
            quote!(::core::option::Option::Some(::core::time::Duration::from_millis(#millis)))
        }
        None => quote!(::core::option::Option::None),
    };
    let (window, timeout) = (duration(&settings.window), duration(&settings.timeout));
    let expires = duration(&settings.expires);
    let smallest = match &settings.smallest {
        Some((_, value)) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    };
    Ok(quote! {
        ::tradewatch_metrics::Spec {
            name: #name,
            prefix: #prefix,
            help: #help,
            unit: #unit,
            buckets: #buckets,
            quantiles: #quantiles,
            window: #window,
            smallest: #smallest,
            timeout: #timeout,
            expires: #expires,
            native: #native,
            info_labels: &[#(#info_labels),*],
            info_as_gauge: #as_gauge,
            legacy_name: #legacy,
            event: #event,
        }
    })
}

fn option(value: &Option<LitStr>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}

fn is_flatten(field: &Field) -> Result<bool> {
    let mut flatten = false;
    for attr in field.attrs.iter().filter(|attr| attr.path().is_ident("metrics")) {
        attr.parse_nested_meta(|meta| {
            if !meta.path.is_ident("flatten") {
                return Err(meta.error("write #[metrics(flatten)], or #[metric(…)] for one metric"));
            }
            flatten = true;
            Ok(())
        })?;
    }
    Ok(flatten)
}

/// `#[metric(…)]` of a field.
#[derive(Default)]
struct Settings {
    unit: Option<LitStr>,
    name: Option<LitStr>,
    legacy_name: Option<LitStr>,
    event: Option<LitStr>,
    gauge: Option<syn::Path>,
    window: Option<Duration>,
    timeout: Option<Duration>,
    expires: Option<Duration>,
    smallest: Option<(Expr, f64)>,
}

/// A span of time as it is written: `"500ms"`, `"10s"`, `"5m"`, `"1h"`.
struct Duration {
    text: LitStr,
    millis: u64,
}

impl syn::parse::Parse for Duration {
    fn parse(input: syn::parse::ParseStream) -> Result<Duration> {
        let text: LitStr = input.parse()?;
        let value = text.value();
        let digits = value.len() - value.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = value.split_at(digits);
        let factor = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => 0,
        };
        let millis = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
        match millis.filter(|millis| *millis > 0) {
            Some(millis) => Ok(Duration { text, millis }),
            None => Err(Error::new_spanned(text, "a time is written \"500ms\", \"10s\", \"5m\" or \"1h\"")),
        }
    }
}

impl Settings {
    fn parse(attrs: &[Attribute]) -> Result<Settings> {
        let mut settings = Settings::default();
        for attr in attrs.iter().filter(|attr| attr.path().is_ident("metric")) {
            attr.parse_nested_meta(|meta| {
                if meta.path.is_ident("unit") {
                    settings.unit = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("name") {
                    settings.name = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("legacy_name") {
                    settings.legacy_name = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("event") {
                    settings.event = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("window") {
                    settings.window = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("timeout") {
                    settings.timeout = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("expires") {
                    settings.expires = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("smallest") {
                    let expr: Expr = meta.value()?.parse()?;
                    let value = literal(&expr).filter(|value| *value > 0.0 && value.is_finite());
                    let value = value.ok_or_else(|| Error::new_spanned(&expr, "a number above 0, such as 0.000001"))?;
                    settings.smallest = Some((expr, value));
                } else if meta.path.is_ident("gauge") {
                    settings.gauge = Some(meta.path);
                } else {
                    return Err(meta
                        .error("write unit = \"…\", name = \"…\", legacy_name = \"reason\", event = \"…\", expires = \"10m\", window, smallest, timeout or gauge here"));
                }
                Ok(())
            })?;
        }
        if let Some(reason) = settings.legacy_name.as_ref().filter(|reason| reason.value().trim().is_empty())
        {
            return Err(Error::new_spanned(reason, "say why the name must break the rules"));
        }
        Ok(settings)
    }

    /// Whether each setting says something to this instrument.
    fn check_place(&self, kind: Kind, instrument: &str) -> Result<()> {
        let summary = kind == Kind::Summary;
        if let Some(window) = self.window.as_ref().filter(|_| !summary) {
            return Err(Error::new_spanned(&window.text, "only a Summary has a window"));
        }
        if let Some((smallest, _)) = self.smallest.as_ref().filter(|_| !summary) {
            return Err(Error::new_spanned(smallest, "only a Summary has a smallest value"));
        }
        let observable = instrument.starts_with("Observable");
        if let Some(timeout) = self.timeout.as_ref().filter(|_| !observable) {
            return Err(Error::new_spanned(
                &timeout.text,
                "a timeout is for the callback of an ObservableGauge or ObservableCounter",
            ));
        }
        if let Some(expires) = self.expires.as_ref().filter(|_| observable || kind == Kind::Info) {
            return Err(Error::new_spanned(
                &expires.text,
                "what a callback does not set, or an Info does not hold, is not shown anyway; remove expires",
            ));
        }
        Ok(())
    }
}

fn full_name(ident: &Ident, options: &Options, settings: &Settings) -> Result<LitStr> {
    let text = match (&settings.name, &options.prefix) {
        (Some(name), _) => name.value(),
        (None, Some(prefix)) => format!("{}_{}", prefix.value(), unraw(ident)),
        (None, None) => unraw(ident),
    };
    let span = settings.name.as_ref().map_or_else(|| ident.span(), LitStr::span);
    if !is_metric_name(&text) {
        return Err(Error::new(span, format!("metric {text}: a metric name is [a-zA-Z_:][a-zA-Z0-9_:]*")));
    }
    Ok(LitStr::new(&text, span))
}

fn unraw(ident: &Ident) -> String {
    let text = ident.to_string();
    text.strip_prefix("r#").map(str::to_owned).unwrap_or(text)
}

/// Checks name and unit against the rules, and returns the unit.
fn check_name(name: &LitStr, kind: Kind, settings: &Settings) -> Result<String> {
    let text = name.value();
    let unit = match &settings.unit {
        Some(unit) => unit.value(),
        None => rules::unit_of_name(&text).to_owned(),
    };
    if settings.legacy_name.is_some() {
        return Ok(unit);
    }
    let word = match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram | Kind::NativeHistogram => "histogram",
        Kind::Summary => "summary",
        Kind::Info if settings.gauge.is_some() => "gauge",
        Kind::Info => "info",
    };
    rules::check_name(&text, word)
        .and_then(|()| rules::check_unit(&text, word, &unit))
        .map_err(|message| Error::new_spanned(name, format!("metric {text}: {message}")))?;
    Ok(unit)
}

/// The last word of the type's path.
fn instrument(ty: &Type) -> String {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
        _ => None,
    }
    .unwrap_or_default()
}

/// The kind, by the name of the instrument.
fn kind(ty: &Type) -> Result<Kind> {
    match instrument(ty).as_str() {
        "Counter" | "ObservableCounter" => Ok(Kind::Counter),
        "Gauge" | "ObservableGauge" | "UpDownCounter" => Ok(Kind::Gauge),
        "Histogram" => Ok(Kind::Histogram),
        "NativeHistogram" => Ok(Kind::NativeHistogram),
        "Summary" => Ok(Kind::Summary),
        "Info" => Ok(Kind::Info),
        _ => Err(Error::new_spanned(
            ty,
            "a metric is a Counter, Gauge, Histogram, NativeHistogram, Summary, Info, UpDownCounter, ObservableGauge or \
             ObservableCounter; for a struct of metrics write #[metrics(flatten)]",
        )),
    }
}

/// The doc comment as one line.
fn help(attrs: &[Attribute]) -> String {
    let mut words = Vec::new();
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("doc")) {
        if let Meta::NameValue(pair) = &attr.meta
            && let Expr::Lit(ExprLit { lit: Lit::Str(line), .. }) = &pair.value
        {
            words.push(line.value().trim().to_owned());
        }
    }
    // The first paragraph is what one reads in a tooltip.
    let first: Vec<String> =
        words.into_iter().skip_while(String::is_empty).take_while(|l| !l.is_empty()).collect();
    first.join(" ")
}

fn buckets(field: &Field, ident: &Ident, kind: Kind, unit: &str) -> Result<TokenStream> {
    let attr = field.attrs.iter().find(|attr| attr.path().is_ident("buckets"));
    let attr = match (kind, attr) {
        (Kind::Histogram, None) => {
            return Err(Error::new_spanned(
                ident,
                "write #[buckets(0.1, 0.5, 1.0)]: upper edges in the metric's unit, the alert's threshold among them",
            ));
        }
        (Kind::NativeHistogram, None) => return Ok(quote!(&[])),
        (Kind::Histogram | Kind::NativeHistogram, Some(attr)) => attr,
        (_, Some(attr)) => {
            return Err(Error::new_spanned(attr, "only a Histogram or a NativeHistogram has buckets"));
        }
        (_, None) => return Ok(quote!(&[])),
    };
    let edges = attr.parse_args_with(Punctuated::<Expr, Token![,]>::parse_terminated)?;
    if edges.is_empty() {
        return Err(Error::new_spanned(attr, "a histogram needs at least one edge"));
    }
    if edges.len() == 1 && literal(&edges[0]).is_none() {
        let edges = &edges[0];
        return Ok(quote!(&#edges[..]));
    }
    let mut before: Option<f64> = None;
    let mut values = Vec::new();
    for edge in &edges {
        let Some(value) = literal(edge) else {
            return Err(Error::new_spanned(
                edge,
                "an edge is a number; for a constant write #[buckets(EDGES)] alone",
            ));
        };
        if let Some(before) = before.filter(|before| *before >= value) {
            return Err(Error::new_spanned(edge, format!("edges ascend; {value} comes after {before}")));
        }
        if !value.is_finite() {
            return Err(Error::new_spanned(edge, "an edge is finite; +Inf is added by itself"));
        }
        before = Some(value);
        values.push(value);
    }
    rules::check_edges(unit, &values).map_err(|message| Error::new_spanned(attr, message))?;
    Ok(quote!(&[#(#values),*]))
}

fn quantiles(field: &Field, ident: &Ident, kind: Kind) -> Result<TokenStream> {
    let attr = field.attrs.iter().find(|attr| attr.path().is_ident("quantiles"));
    let attr = match (kind, attr) {
        (Kind::Summary, None) => {
            return Err(Error::new_spanned(
                ident,
                "write #[quantiles(0.5, 0.9, 0.99)]: the shares of the values",
            ));
        }
        (Kind::Summary, Some(attr)) => attr,
        (_, Some(attr)) => return Err(Error::new_spanned(attr, "only a Summary has quantiles")),
        (_, None) => return Ok(quote!(&[])),
    };
    let list = attr.parse_args_with(Punctuated::<Expr, Token![,]>::parse_terminated)?;
    let mut values: Vec<f64> = Vec::new();
    for quantile in &list {
        let value = literal(quantile).filter(|value| (0.0..=1.0).contains(value));
        let Some(value) = value else {
            return Err(Error::new_spanned(quantile, "a quantile is a number between 0 and 1"));
        };
        if let Some(before) = values.last().filter(|before| **before >= value) {
            return Err(Error::new_spanned(
                quantile,
                format!("quantiles ascend; {value} comes after {before}"),
            ));
        }
        values.push(value);
    }
    if values.is_empty() {
        return Err(Error::new_spanned(attr, "a summary needs at least one quantile"));
    }
    Ok(quote!(&[#(#values),*]))
}

/// `#[native(schema = 3, zero_threshold = 1e-9)]`; each may be left out.
fn native(field: &Field, kind: Kind) -> Result<TokenStream> {
    let attr = field.attrs.iter().find(|attr| attr.path().is_ident("native"));
    if kind != Kind::NativeHistogram {
        return match attr {
            Some(attr) => Err(Error::new_spanned(attr, "only a NativeHistogram has a schema")),
            None => Ok(quote!(::core::option::Option::None)),
        };
    }
    let (mut schema, mut zero_threshold) = (None, None);
    if let Some(attr) = attr {
        attr.parse_nested_meta(|meta| {
            let value: Expr = meta.value()?.parse()?;
            let Some(number) = literal(&value) else {
                return Err(Error::new_spanned(value, "write a number"));
            };
            if meta.path.is_ident("schema") {
                if number.fract() != 0.0 || !(-4.0..=8.0).contains(&number) {
                    return Err(Error::new_spanned(
                        value,
                        "a schema is from -4 to 8; 3 is a bucket every 9 %",
                    ));
                }
                schema = Some(number as i8);
            } else if meta.path.is_ident("zero_threshold") {
                if !(number > 0.0 && number.is_finite()) {
                    return Err(Error::new_spanned(value, "a zero threshold is above 0 and finite"));
                }
                zero_threshold = Some(number);
            } else {
                return Err(
                    meta.error("write #[native(schema = 3, zero_threshold = 1e-9)]; each may be left out")
                );
            }
            Ok(())
        })?;
    }
    let default = quote!(::tradewatch_metrics::NativeBuckets::DEFAULT);
    let schema = schema.map_or_else(|| quote!(#default.schema), |schema| quote!(#schema));
    let zero_threshold =
        zero_threshold.map_or_else(|| quote!(#default.zero_threshold), |threshold| quote!(#threshold));
    Ok(quote! {
        ::core::option::Option::Some(::tradewatch_metrics::NativeBuckets {
            schema: #schema,
            zero_threshold: #zero_threshold,
        })
    })
}

fn literal(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Lit(ExprLit { lit: Lit::Float(number), .. }) => number.base10_parse().ok(),
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => number.base10_parse().ok(),
        Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) => literal(expr).map(|value| -value),
        _ => None,
    }
}

fn info_labels(field: &Field, ident: &Ident, kind: Kind) -> Result<Vec<LitStr>> {
    let attr = field.attrs.iter().find(|attr| attr.path().is_ident("labels"));
    let attr = match (kind, attr) {
        (Kind::Info, None) => {
            return Err(Error::new_spanned(ident, "write #[labels(\"version\", …)]: the names of the facts"));
        }
        (Kind::Info, Some(attr)) => attr,
        (_, Some(attr)) => {
            return Err(Error::new_spanned(
                attr,
                "labels of this instrument are types: Counter<(Symbol, Side)>",
            ));
        }
        (_, None) => return Ok(Vec::new()),
    };
    let labels = attr.parse_args_with(Punctuated::<LitStr, Token![,]>::parse_terminated)?;
    for label in &labels {
        if !crate::names::is_label_name(&label.value()) {
            return Err(Error::new_spanned(label, "a label name is [a-zA-Z_][a-zA-Z0-9_]*, not __…"));
        }
    }
    Ok(labels.into_iter().collect())
}
