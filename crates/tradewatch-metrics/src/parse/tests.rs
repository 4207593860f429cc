//! Texts in, entries or errors out.

use expect_test::{Expect, expect};

use super::*;

fn dump(mut parser: Parser<'_>) -> String {
    let mut out = String::new();
    while let Some(entry) = parser.next() {
        match entry {
            Ok(Entry::Help { family, help }) => out += &format!("help {family} {help:?}\n"),
            Ok(Entry::Type { family, kind }) => out += &format!("type {family} {}\n", kind.as_str()),
            Ok(Entry::Unit { family, unit }) => out += &format!("unit {family} {unit}\n"),
            Ok(Entry::Sample(sample)) => {
                out += &format!("{} {:?} {:?}", sample.name, sample.labels, sample.value);
                out += &sample.timestamp.map(|ts| format!(" @{ts}")).unwrap_or_default();
                out += if sample.is_created { " created" } else { "" };
                out += &sample
                    .exemplar
                    .map(|e| format!(" # {:?} {} {:?}", e.labels, e.value, e.timestamp))
                    .unwrap_or_default();
                out += &format!(" ({}) |{}|\n", sample.kind.as_str(), sample.series);
            }
            Err(error) => out += &format!("error: {error}\n"),
        }
    }
    out
}

fn check_text(body: &str, expected: Expect) {
    expected.assert_eq(&dump(text(body.as_bytes())));
}

fn check_open(body: &str, expected: Expect) {
    expected.assert_eq(&dump(openmetrics(body.as_bytes())));
}

#[test]
fn text_is_read_leniently() {
    check_text(
        "# a comment\n#HELP no help\n\n  # TYPE  a_total \tcounter \n# HELP a_total x \\\\ \\n \\\" y\n\
         a_total{ side = \"buy\" , venue=\"X\\\"\\\\\\n\\z\", }\t3  1700000000000 \n a_total 1e3\na_total{}NaN\n\
         # TYPE h histogram\nh_bucket{le=\"+Inf\"} 2\nh_sum -Inf\n# UNIT a b\n# TYPE u untyped\nu 0x\n",
        expect![[r#"
            type a_total counter
            help a_total "x \\ \n \\\" y"
            a_total [("side", "buy"), ("venue", "X\"\\\n\\z")] 3.0 @1700000000000 (counter) |a_total{ side = "buy" , venue="X\"\\\n\z", }|
            a_total [] 1000.0 (counter) |a_total|
            a_total [] NaN (counter) |a_total{}|
            type h histogram
            h_bucket [("le", "+Inf")] 2.0 (histogram) |h_bucket{le="+Inf"}|
            h_sum [] -inf (histogram) |h_sum|
            type u unknown
            error: line 14, column 3: the value is not a number: "0x": "u 0x"
        "#]],
    );
}

#[test]
fn names_in_quotes_are_taken() {
    check_text(
        "# TYPE \"order.latency\" gauge\n{\"order.latency\",\"venue.name\"=\"X\"} 1\n{\"a b\"} 2\n{x=\"1\",\"c\\\"d\"} 3\n{x=\"1\"} 4\n",
        expect![[r#"
            type order.latency gauge
            order.latency [("venue.name", "X")] 1.0 (gauge) |{"order.latency","venue.name"="X"}|
            a b [] 2.0 (unknown) |{"a b"}|
            c"d [("x", "1")] 3.0 (unknown) |{x="1","c\"d"}|
            error: line 5, column 8: the series has no name: "{x=\"1\"} 4"
        "#]],
    );
    check_open(
        "# TYPE \"a.b\" counter\n{\"a.b_total\",c=\"d\"} 1\n# EOF\n",
        expect![[r#"
        type a.b counter
        a.b_total [("c", "d")] 1.0 (counter) |{"a.b_total",c="d"}|
    "#]],
    );
}

#[test]
fn open_metrics_has_exemplars_created_and_seconds() {
    check_open(
        "# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n# HELP a_seconds say \\\"a\\\"\n\
         a_seconds_bucket{le=\"1.0\"} 1 1700000000.5 # {trace_id=\"abc\"} 0.5 1700000000.25\n\
         a_seconds_bucket{le=\"+Inf\"} 1 1700000000.5 # {} 3\n\
         a_seconds_count 1 1700000000.5\na_seconds_sum 0.5 1700000000.5\na_seconds_created 1.5e9 1700000000.5\n# EOF",
        expect![[r#"
            type a_seconds histogram
            unit a_seconds seconds
            help a_seconds "say \"a\""
            a_seconds_bucket [("le", "1.0")] 1.0 @1700000000500 # [("trace_id", "abc")] 0.5 Some(1700000000250) (histogram) |a_seconds_bucket{le="1.0"}|
            a_seconds_bucket [("le", "+Inf")] 1.0 @1700000000500 # [] 3 None (histogram) |a_seconds_bucket{le="+Inf"}|
            a_seconds_count [] 1.0 @1700000000500 (histogram) |a_seconds_count|
            a_seconds_sum [] 0.5 @1700000000500 (histogram) |a_seconds_sum|
            a_seconds_created [] 1500000000.0 @1700000000500 created (histogram) |a_seconds_created|
        "#]],
    );
}

#[test]
fn errors_name_the_place_and_the_text() {
    let cases = [
        "a 1\nb{c=\"d} 2\n",
        "a 1\n\n  b 1 2 3\n",
        "a{b} 1\n",
        "a{b=c} 1\n",
        "a{b=\"1\",b=\"2\"} 1\n",
        "a{__name__=\"b\"} 1\n",
        "a{1=\"2\"} 1\n",
        "a\n",
        "a 1_000\n",
        "a 1 1.5\n",
        "a 1\r\n",
        "1a 1\n",
        "# TYPE a meter\n",
        "# TYPE a.b gauge\n",
        "{\"a\",\"b\"} 1\n",
        "{\"\"} 1\n",
        "ключ 1\n",
        "a{b=\"ключ\"} x\n",
    ];
    let all: String = cases.iter().map(|body| dump(text(body.as_bytes()))).collect();
    expect![[r##"
        a [] 1.0 (unknown) |a|
        error: line 2, column 5: the quoted text has no end: "b{c=\"d} 2"
        a [] 1.0 (unknown) |a|
        error: line 3, column 9: unexpected text after the end of the line's last part: "  b 1 2 3"
        error: line 1, column 4: expected = after label b: "a{b} 1"
        error: line 1, column 5: the value of label b is not in double quotes: "a{b=c} 1"
        error: line 1, column 14: label b is given twice: "a{b=\"1\",b=\"2\"} 1"
        error: line 1, column 15: label __name__ is given twice: "a{__name__=\"b\"} 1"
        error: line 1, column 3: expected a label's name: "a{1=\"2\"} 1"
        error: line 1, column 2: the value is missing: "a"
        error: line 1, column 3: the value is not a number: "1_000": "a 1_000"
        error: line 1, column 5: the timestamp is not a whole number of milliseconds: "1.5": "a 1 1.5"
        error: line 1, column 3: the value is not a number: "1\r": "a 1\r"
        error: line 1, column 1: a series begins with a name ([a-zA-Z_:][a-zA-Z0-9_:]*) or {: "1a 1"
        error: line 1, column 15: "meter" is not a type of metric: "# TYPE a meter"
        error: line 1, column 9: expected a blank after the metric's name: "# TYPE a.b gauge"
        error: line 1, column 9: expected = after the label's name: "{\"a\",\"b\"} 1"
        error: line 1, column 5: the series' name is empty: "{\"\"} 1"
        error: line 1, column 1: a series begins with a name ([a-zA-Z_:][a-zA-Z0-9_:]*) or {: "ключ 1"
        error: line 1, column 13: the value is not a number: "x": "a{b=\"ключ\"} x"
    "##]]
    .assert_eq(&all);
}

#[test]
fn bytes_that_are_not_utf8_are_an_error_where_they_stand() {
    for body in [&b"a 1\nb{c=\"\xff\"} 2\n"[..], b"a 1\n\xff", b"a 1\n# HELP b \xc3\n", b"a 1\nb \xe2\x82"] {
        let said = dump(text(body));
        assert!(said.contains("\nerror: line 2, ") && said.contains("not UTF-8"), "{said}");
    }
}

#[test]
fn lines_and_labels_are_bounded() {
    let limits = Limits { line_bytes_max: 20, labels_max: 2 };
    let error = |body: &str| {
        let mut parser = text(body.as_bytes()).with_limits(limits);
        let error = loop {
            if let Err(error) = parser.next().expect("the body is beyond the limits") {
                break error;
            }
        };
        assert!(error.is_limit(), "{error}");
        error.line()
    };
    assert_eq!(error("a{b=\"1\",c=\"2\"} 1\na{b=\"\",c=\"\",d=\"\"} 1\n"), 2);
    assert_eq!(error("a 1\na{b=\"12345678901234567890\"} 1\n"), 2);
    assert_eq!(error("# a comment far too long to read\n"), 1);
}

#[test]
fn known_series_are_read_by_their_bytes() {
    let body = "a{b=\"1\"} 5 7\n# TYPE c gauge\nc 8\nab 1\n";
    let mut parser = text(body.as_bytes());
    assert!(parser.next_if_series("c").is_none(), "another line is next");
    assert!(parser.next_if_series("a").is_none(), "a longer series is next");
    let point = parser.next_if_series("a{b=\"1\"}").unwrap().unwrap();
    assert_eq!((point.value, point.timestamp), (5.0, Some(7)));
    assert!(matches!(parser.next(), Some(Ok(Entry::Type { .. }))));
    assert_eq!(parser.next_if_series("c").unwrap().unwrap().value, 8.0);
    assert!(parser.next_if_series("a").is_none());
    assert!(matches!(parser.next(), Some(Ok(Entry::Sample(Sample { value: 1.0, .. })))));
    assert!(parser.next().is_none() && parser.next_if_series("ab").is_none());

    let mut parser = text(b"a 1\nb x\n");
    parser.next_if_series("a").unwrap().unwrap();
    assert_eq!(parser.next_if_series("b").unwrap().unwrap_err().line(), 2);
    assert!(parser.next().is_none(), "the parser ends after an error");
    assert!(openmetrics(b"a 1\n# EOF\n").next_if_series("a").is_none(), "a strict parser sees every label");
}

#[test]
fn a_lenient_open_metrics_reader_asks_for_the_end_only() {
    let body = b"# TYPE a counter\na 1\nb 1\na 2\n# EOF\n";
    assert!(dump(openmetrics(body)).contains("error: line 2"));
    assert!(!dump(openmetrics_lenient(body)).contains("error"));
    assert!(dump(openmetrics_lenient(b"a 1\n")).contains("error: line 2"));
}

/// Random damage to real bodies: an answer, never a panic, and never an endless one.
#[test]
fn damaged_bodies_never_panic() {
    let seeds: [&[u8]; 4] = [
        b"# HELP a x\n# TYPE a counter\na_total{b=\"c\\n\"} 1 2 # {d=\"e\"} 3 4\n# EOF\n",
        b"# TYPE h histogram\nh_bucket{le=\"1.0\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n# EOF\n",
        b"{\"a.b\",\"c d\"=\"\xc3\xa9\"} +Inf\n# UNIT a_s s\ns{quantile=\"0.5\"} NaN\n# TYPE i info\n",
        b"  a { b = \"c\" , } 1e5 -7 \n\t\n#\n# HELP\n",
    ];
    let mut state = 0x5eed_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for round in 0..20_000 {
        let mut body = seeds[round % seeds.len()].to_vec();
        for _ in 0..1 + random(6) {
            let at = random(body.len());
            match random(4) {
                0 => body[at] = random(256) as u8,
                1 => body.insert(at, b"\"\\{}=,# \n\t0_:"[random(13)]),
                2 if body.len() > 1 => drop(body.remove(at)),
                _ => {
                    let from = random(body.len());
                    body.truncate(body.len().max(1) - from / 2);
                    body.extend_from_within(body.len() / 2..);
                }
            }
            if body.is_empty() {
                body.push(b'a');
            }
        }
        for mut parser in [text(&body), openmetrics(&body), openmetrics_lenient(&body)] {
            let mut entries = 0;
            while parser.next().is_some() {
                entries += 1;
                assert!(entries <= body.len(), "each entry takes at least a byte");
            }
        }
    }
}
