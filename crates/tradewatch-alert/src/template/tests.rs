//! Texts in, texts out.

use std::fmt::Write as _;

use expect_test::{Expect, expect};

use super::*;

/// Labels `instance`, `job`, `empty` is missing; the value is 1234567.5 unless given.
fn context(value: f64) -> Context {
    let metric = |id: &str, value: f64| {
        (Labels::from_pairs([("__name__", "metric"), ("instance", id)]), Value::Float(value))
    };
    let answer = vec![metric("b", 21.0), metric("a", 11.0)];
    Context {
        labels: Labels::from_pairs([
            ("__name__", "up"),
            ("instance", "gateway.example.org:8002"),
            ("job", "execution-gateway"),
        ]),
        value: Value::Float(value),
        external_labels: BTreeMap::from([("region".to_owned(), "eu".to_owned())]),
        external_url: "http://monitor:9090/watch/".to_owned(),
        at: Timestamp::from_millis(1_700_000_000_500),
        query: Arc::new(move |text, _| match text {
            "metric" => Ok(answer.clone()),
            "nothing" => Ok(Vec::new()),
            other => Err(format!("cannot answer {other}")),
        }),
    }
}

fn check(texts: &[&str], expected: Expect) {
    let mut out = String::new();
    for text in texts {
        let result = match Template::compile("Name", text) {
            Ok(template) => template.expand(&context(1_234_567.5)).unwrap_or_else(|e| format!("expand: {e}")),
            Err(error) => format!("compile at {}: {}", error.offset, error.message),
        };
        writeln!(out, "{text}\n    {result}").expect("to a string");
    }
    expected.assert_eq(&out);
}

#[test]
fn variables() {
    check(
        &[
            "plain",
            "{{ $labels.instance }} of {{ $labels.job }} is {{ $value }}",
            "{{ .Labels.job }} {{ .Value }} {{ .ExternalLabels.region }} {{ .ExternalURL }}",
            "{{ $externalLabels.region }} {{ $externalURL }}",
            "[{{ $labels.missing }}] [{{ $labels.missing | toUpper }}]",
            r#"{{ if eq $labels.missing "" }}empty{{ else }}set{{ end }}"#,
            "{{ if $labels.missing }}set{{ else }}empty{{ end }}",
            r#"{{ index $labels "job" }}"#,
            "{{ $x := 5 }}{{ $x }}{{ range $k, $v := $labels }}[{{ $k }}={{ $v }}]{{ end }}",
            "{{ $labels }}",
            r#"{{ printf "%v %5.1f%% %s" $value 12.34 "x" }} {{ $value | printf "%v" }} {{ printf "%d" 5 }}"#,
            r#"{{ printf "%.2f %s %v" $value $labels.job $labels.missing }}"#,
            "{{ with $labels.job }}{{ . }}{{ end }}",
            "{{- /* nothing */ -}} x {{- 1 -}} y",
            "{{ if gt $value 100.0 }}high{{ end }}{{ if and (gt $value 1.0) (lt $value 2.0) }}low{{ end }}",
        ],
        expect![[r#"
            plain
                plain
            {{ $labels.instance }} of {{ $labels.job }} is {{ $value }}
                gateway.example.org:8002 of execution-gateway is 1.2345675e+06
            {{ .Labels.job }} {{ .Value }} {{ .ExternalLabels.region }} {{ .ExternalURL }}
                execution-gateway 1.2345675e+06 eu http://monitor:9090/watch/
            {{ $externalLabels.region }} {{ $externalURL }}
                eu http://monitor:9090/watch/
            [{{ $labels.missing }}] [{{ $labels.missing | toUpper }}]
                [] []
            {{ if eq $labels.missing "" }}empty{{ else }}set{{ end }}
                empty
            {{ if $labels.missing }}set{{ else }}empty{{ end }}
                empty
            {{ index $labels "job" }}
                execution-gateway
            {{ $x := 5 }}{{ $x }}{{ range $k, $v := $labels }}[{{ $k }}={{ $v }}]{{ end }}
                5[__name__=up][instance=gateway.example.org:8002][job=execution-gateway]
            {{ $labels }}
                map[__name__:up instance:gateway.example.org:8002 job:execution-gateway]
            {{ printf "%v %5.1f%% %s" $value 12.34 "x" }} {{ $value | printf "%v" }} {{ printf "%d" 5 }}
                1.2345675e+06  12.3% x 1.2345675e+06 5
            {{ printf "%.2f %s %v" $value $labels.job $labels.missing }}
                1234567.50 execution-gateway 
            {{ with $labels.job }}{{ . }}{{ end }}
                execution-gateway
            {{- /* nothing */ -}} x {{- 1 -}} y
                x1y
            {{ if gt $value 100.0 }}high{{ end }}{{ if and (gt $value 1.0) (lt $value 2.0) }}low{{ end }}
                high
        "#]],
    );
}

#[test]
fn functions() {
    check(
        &[
            "{{humanize 1048576}} {{humanize1024 1048576}} {{humanizeDuration 135.3563}} {{humanizePercentage 0.959}} {{humanizeTimestamp 1643114203}}",
            "{{ humanize 0 }} {{ humanize 0.00012 }} {{ humanize $value }} {{ humanize \"1e9\" }} {{ humanize1024 1 }}",
            "{{ humanizeDuration 0 }} {{ humanizeDuration 0.0012 }} {{ humanizeDuration 90061 }} {{ humanizeDuration 3661 }} {{ humanizeDuration -61 }}",
            "{{ humanizeTimestamp 1435065584.128 }}",
            "{{ (1643114203 | toTime).Year }} {{ (1643114203.5 | toTime).Format \"2006-01-02 15:04:05 MST\" }} {{ 1643114203 | toTime }}",
            "{{ toDuration 90 }} {{ (toDuration 90).Minutes }}",
            r#"{{ query "metric" | first | value }} {{ query "metric" | sortByLabel "instance" | first | label "instance" }}"#,
            r#"{{ range query "metric" | sortByLabel "instance" }}{{ .Labels.instance }}:{{ .Value }}, {{ end }}"#,
            r#"{{ with query "nothing" }}some{{ else }}none{{ end }}"#,
            r#"{{ range $v := query "metric" }}{{ $v | label "instance" }}={{ $v | value }} {{ end }}"#,
            r#"{{ define "t" }}Args are: {{.arg0}} {{.arg1}} {{.arg2}}{{ end }}{{ template "t" (args "foo" "bar" 99) }}"#,
            r#"{{title "this part"}} {{toUpper "is testing"}} {{toLower "THE STRINGS"}}. {{ stripPort "[::1]:6006"}} {{ stripPort "127.0.0.1:4004"}}. {{parseDuration "2h10m15s"}}."#,
            r#"{{if match "[0-9]+" "1234"}}{{reReplaceAll "r.*d" "replaced" "rpld text"}}{{end}}{{if match "[0-9]+$" "1234a"}}WRONG{{end}}"#,
            r#"{{ reReplaceAll "(.*):(\\d+)" "$2 at ${1}" $labels.instance }}"#,
            r#"{{ stripDomain $labels.instance }} {{ stripDomain "10.0.0.1:80" }} {{ stripPort $labels.instance }}"#,
            r#"{{ graphLink "up{a=\"b\"} > 1" }} {{ tableLink "up" }} {{ pathPrefix }} {{ externalURL }} {{ urlQueryEscape "a b&c" }}"#,
            "{{ now }} {{ safeHtml \"<b>\" }}",
            r#"{{ strvalue (query "metric" | first) }}|{{ tmpl "x" 1 }}|"#,
        ],
        expect![[r#"
            {{humanize 1048576}} {{humanize1024 1048576}} {{humanizeDuration 135.3563}} {{humanizePercentage 0.959}} {{humanizeTimestamp 1643114203}}
                1.049M 1Mi 2m 15s 95.9% 2022-01-25 12:36:43 +0000 UTC
            {{ humanize 0 }} {{ humanize 0.00012 }} {{ humanize $value }} {{ humanize "1e9" }} {{ humanize1024 1 }}
                0 120u 1.235M 1G 1
            {{ humanizeDuration 0 }} {{ humanizeDuration 0.0012 }} {{ humanizeDuration 90061 }} {{ humanizeDuration 3661 }} {{ humanizeDuration -61 }}
                0s 1.2ms 1d 1h 1m 1s 1h 1m 1s -1m 1s
            {{ humanizeTimestamp 1435065584.128 }}
                2015-06-23 13:19:44.128 +0000 UTC
            {{ (1643114203 | toTime).Year }} {{ (1643114203.5 | toTime).Format "2006-01-02 15:04:05 MST" }} {{ 1643114203 | toTime }}
                2022 2022-01-25 12:36:43 UTC 2022-01-25 12:36:43 +0000 UTC
            {{ toDuration 90 }} {{ (toDuration 90).Minutes }}
                1m30s 1.5
            {{ query "metric" | first | value }} {{ query "metric" | sortByLabel "instance" | first | label "instance" }}
                21 a
            {{ range query "metric" | sortByLabel "instance" }}{{ .Labels.instance }}:{{ .Value }}, {{ end }}
                a:11, b:21, 
            {{ with query "nothing" }}some{{ else }}none{{ end }}
                none
            {{ range $v := query "metric" }}{{ $v | label "instance" }}={{ $v | value }} {{ end }}
                b=21 a=11 
            {{ define "t" }}Args are: {{.arg0}} {{.arg1}} {{.arg2}}{{ end }}{{ template "t" (args "foo" "bar" 99) }}
                Args are: foo bar 99
            {{title "this part"}} {{toUpper "is testing"}} {{toLower "THE STRINGS"}}. {{ stripPort "[::1]:6006"}} {{ stripPort "127.0.0.1:4004"}}. {{parseDuration "2h10m15s"}}.
                This Part IS TESTING the strings. ::1 127.0.0.1. 7815.
            {{if match "[0-9]+" "1234"}}{{reReplaceAll "r.*d" "replaced" "rpld text"}}{{end}}{{if match "[0-9]+$" "1234a"}}WRONG{{end}}
                replaced text
            {{ reReplaceAll "(.*):(\\d+)" "$2 at ${1}" $labels.instance }}
                8002 at gateway.example.org
            {{ stripDomain $labels.instance }} {{ stripDomain "10.0.0.1:80" }} {{ stripPort $labels.instance }}
                gateway:8002 10.0.0.1:80 gateway.example.org
            {{ graphLink "up{a=\"b\"} > 1" }} {{ tableLink "up" }} {{ pathPrefix }} {{ externalURL }} {{ urlQueryEscape "a b&c" }}
                /graph?g0.expr=up%7Ba%3D%22b%22%7D+%3E+1&g0.tab=0 /graph?g0.expr=up&g0.tab=1 /watch http://monitor:9090/watch/ a+b%26c
            {{ now }} {{ safeHtml "<b>" }}
                1.7000000005e+09 <b>
            {{ strvalue (query "metric" | first) }}|{{ tmpl "x" 1 }}|
                ||
        "#]],
    );
}

/// Each line was compared with what Debian's `promtool test rules` prints.
#[test]
fn printing() {
    check(
        &[
            r#"{{ print $value " " 1.5 }} {{ println 1e9 }}"#,
            "{{ 1000000.0 }} {{ 123456.7 }} {{ 1e21 }} {{ 0.00001 }} {{ 100000000 }} {{ true }} {{ \"x\" }}",
            r#"{{ printf "%s" $value }} {{ printf "%d" $value }} {{ printf "%d" "x" }}"#,
            r#"{{ printf "%q %t %x %05d %+d %e" "a\"b" true 255 42 7 1234.5 }}"#,
            r#"{{ $labels.job | title | printf "%-20s|" }}"#,
            r#"{{ html "<a>" }} {{ js "it's" }} {{ urlquery "a b&c" }}"#,
            "{{ range $i, $e := query \"metric\" | sortByLabel \"instance\" }}{{ if $i }}, {{ end }}{{ $e.Labels.instance }}{{ end }}",
            "{{ with $x := 3 }}{{ $x }}{{ end }}{{ range $k, $v := args 1 2 }}{{ $k }}{{ $v }}{{ end }}",
            r#"{{ block "b" . }}in {{ .Value }}{{ end }}"#,
            r#"{{ (1643114203.5 | toTime).Format "Mon Jan _2 15:04:05.000 2006 3PM 002" }}"#,
            r#"{{ len "abc" }} {{ len $labels }} {{ slice "abcdef" 1 3 }} {{ not true }} {{ or "" "x" }} {{ and 1 0 }}"#,
            r#"{{ lt "a" 1 }}"#,
        ],
        expect![[r#"
            {{ print $value " " 1.5 }} {{ println 1e9 }}
                1.2345675e+06 1.5 1e+09

            {{ 1000000.0 }} {{ 123456.7 }} {{ 1e21 }} {{ 0.00001 }} {{ 100000000 }} {{ true }} {{ "x" }}
                1e+06 123456.7 1e+21 1e-05 100000000 true x
            {{ printf "%s" $value }} {{ printf "%d" $value }} {{ printf "%d" "x" }}
                %!s(float64=1.2345675e+06) %!d(float64=1.2345675e+06) %!d(string=x)
            {{ printf "%q %t %x %05d %+d %e" "a\"b" true 255 42 7 1234.5 }}
                "a\"b" true ff 00042 +7 1.234500e+03
            {{ $labels.job | title | printf "%-20s|" }}
                Execution-Gateway   |
            {{ html "<a>" }} {{ js "it's" }} {{ urlquery "a b&c" }}
                &lt;a&gt; it\'s a+b%26c
            {{ range $i, $e := query "metric" | sortByLabel "instance" }}{{ if $i }}, {{ end }}{{ $e.Labels.instance }}{{ end }}
                a, b
            {{ with $x := 3 }}{{ $x }}{{ end }}{{ range $k, $v := args 1 2 }}{{ $k }}{{ $v }}{{ end }}
                3arg01arg12
            {{ block "b" . }}in {{ .Value }}{{ end }}
                in 1.2345675e+06
            {{ (1643114203.5 | toTime).Format "Mon Jan _2 15:04:05.000 2006 3PM 002" }}
                Tue Jan 25 12:36:43.500 2022 12PM 025
            {{ len "abc" }} {{ len $labels }} {{ slice "abcdef" 1 3 }} {{ not true }} {{ or "" "x" }} {{ and 1 0 }}
                3 3 bc false x 0
            {{ lt "a" 1 }}
                expand: error executing template __alert_Name: template: __alert_Name:1:115: executing "__alert_Name" at <lt "a" 1>: error calling lt: incompatible types for comparison
        "#]],
    );
}

#[test]
fn errors() {
    check(
        &[
            "{{ nothere $value }}",
            "{{ $nothere }}",
            "{{ if }}",
            "{{ $labels.job",
            "{{ end }}",
            "a {{ if true }}b{{ end }} c {{ else }} d",
            r#"a {{ query "nothing" | first | value }}"#,
            "{{ humanize $labels.job }}",
            "line\n  {{ humanize $labels.job }}",
            r#"{{ query "bad(" }}"#,
            "{{ .Nothing }}",
            "{{ $value.Foo }}",
            r#"{{ template "nothere" }}"#,
            "{{ humanize }}",
            r#"{{ len 3 }}"#,
            r#"{{ reReplaceAll "[" "" "x" }}"#,
            r#"{{ range $i := query "metric" }}{{ .Foo }}{{ end }}"#,
        ],
        expect![[r#"
            {{ nothere $value }}
                compile at 3: error parsing template __alert_Name: template: __alert_Name:1: function "nothere" not defined
            {{ $nothere }}
                compile at 3: error parsing template __alert_Name: template: __alert_Name:1: undefined variable "$nothere"
            {{ if }}
                compile at 8: error parsing template __alert_Name: template: __alert_Name:1: empty command
            {{ $labels.job
                compile at 14: error parsing template __alert_Name: template: __alert_Name:1: unclosed action
            {{ end }}
                compile at 0: error parsing template __alert_Name: template: __alert_Name:1: unexpected {{end}}
            a {{ if true }}b{{ end }} c {{ else }} d
                compile at 28: error parsing template __alert_Name: template: __alert_Name:1: unexpected {{else}}
            a {{ query "nothing" | first | value }}
                expand: error executing template __alert_Name: template: __alert_Name:1:135: executing "__alert_Name" at <first>: error calling first: first() called on vector with no elements
            {{ humanize $labels.job }}
                expand: error executing template __alert_Name: template: __alert_Name:1:115: executing "__alert_Name" at <humanize $labels.job>: error calling humanize: strconv.ParseFloat: parsing "execution-gateway": invalid syntax
            line
              {{ humanize $labels.job }}
                expand: error executing template __alert_Name: template: __alert_Name:2:5: executing "__alert_Name" at <humanize $labels.job>: error calling humanize: strconv.ParseFloat: parsing "execution-gateway": invalid syntax
            {{ query "bad(" }}
                expand: error executing template __alert_Name: template: __alert_Name:1:115: executing "__alert_Name" at <query "bad(">: error calling query: cannot answer bad(
            {{ .Nothing }}
                expand: error executing template __alert_Name: template: __alert_Name:1:115: executing "__alert_Name" at <.Nothing>: can't evaluate field Nothing in type struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; Value interface {} }
            {{ $value.Foo }}
                expand: error executing template __alert_Name: template: __alert_Name:1:121: executing "__alert_Name" at <$value.Foo>: can't evaluate field Foo in type float64
            {{ template "nothere" }}
                expand: error executing template __alert_Name: template: __alert_Name:1:124: executing "__alert_Name" at <{{template "nothere"}}>: template "nothere" not defined
            {{ humanize }}
                expand: error executing template __alert_Name: template: __alert_Name:1:115: executing "__alert_Name" at <humanize>: wrong number of args for humanize: want 1 got 0
            {{ len 3 }}
                expand: error executing template __alert_Name: template: __alert_Name:1:115: executing "__alert_Name" at <len 3>: error calling len: len of type int
            {{ reReplaceAll "[" "" "x" }}
                expand: error executing template __alert_Name: template: __alert_Name:1:115: executing "__alert_Name" at <reReplaceAll "[" "" "x">: error calling reReplaceAll: regexp: Compile(`[`): error parsing regexp: missing closing ]: `[`
            {{ range $i := query "metric" }}{{ .Foo }}{{ end }}
                expand: error executing template __alert_Name: template: __alert_Name:1:147: executing "__alert_Name" at <.Foo>: can't evaluate field Foo in type *template.sample
        "#]],
    );
}

#[test]
fn a_loop_ends() {
    let text = r#"{{ define "l" }}{{ template "l" . }}{{ end }}{{ template "l" . }}"#;
    assert!(Template::compile("N", text).expect("compiles").expand(&context(1.0)).is_err());
    let nested = "{{ range 100000 }}{{ range 100000 }}{{ end }}{{ end }}";
    let error =
        Template::compile("N", nested).expect("compiles").expand(&context(1.0)).expect_err("never ends");
    assert!(error.contains("rounds of range"), "{error}");
    let long = r#"{{ range 90000 }}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa{{ end }}"#;
    let error = Template::compile("N", long).expect("compiles").expand(&context(1.0)).expect_err("too long");
    assert!(error.contains("longer than"), "{error}");
    let text = r#"{{ range 200 }}{{ query "metric" | len }}{{ end }}"#;
    let error = Template::compile("N", text).expect("compiles").expand(&context(1.0)).expect_err("too many");
    assert!(error.contains("queries in one text"), "{error}");
}
