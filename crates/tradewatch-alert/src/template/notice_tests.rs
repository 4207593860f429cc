//! What notification templates print.

use expect_test::{Expect, expect};

use super::*;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn one(name: &str, symbol: &str, status: &str) -> MessageAlert {
    MessageAlert {
        status: status.to_owned(),
        labels: map(&[("alertname", name), ("severity", "critical"), ("symbol", symbol)]),
        annotations: map(&[("summary", "price is <stale> & old"), ("runbook_url", "http://m/r?a=1&b=2")]),
        starts_at: "2026-11-20T19:03:06.400Z".to_owned(),
        ends_at: "0001-01-01T00:00:00Z".to_owned(),
        generator_url: "http://m/graph".to_owned(),
        fingerprint: "050fbeb6f7db488a".to_owned(),
        value: None,
    }
}

fn data() -> Data {
    let message = Message {
        receiver: "desk a".to_owned(),
        status: "firing".to_owned(),
        alerts: vec![one("Stale", "AAPL", "firing"), one("Stale", "MSFT", "resolved")],
        group_labels: map(&[("alertname", "Stale")]),
        common_labels: map(&[("alertname", "Stale"), ("severity", "critical")]),
        common_annotations: map(&[("summary", "price is <stale> & old")]),
        external_url: "http://m:9090/".to_owned(),
        version: "4".to_owned(),
        group_key: "{}:{alertname=\"Stale\"}".to_owned(),
        truncated_alerts: 0,
    };
    Data::new(&message, "CRITICAL <phone>", Timestamp::from_millis(1_795_201_446_400))
}

fn check(texts: &[&str], escape: Escape, expected: Expect) {
    let set = Set::default();
    let mut out = String::new();
    for text in texts {
        let said = match set.compile(text) {
            Ok(notice) => notice.expand(&data(), escape).unwrap_or_else(|e| format!("expand: {e}")),
            Err(e) => format!("compile at {}: {}", e.offset, e.message),
        };
        out += &format!("{text}\n    {said}\n");
    }
    expected.assert_eq(&out);
}

#[test]
fn data_and_functions() {
    check(
        &[
            "{{ .Receiver }} {{ .Status }} {{ len .Alerts }} {{ .Alerts.Firing | len }} {{ len .Alerts.Resolved }} {{ .ExternalURL }}",
            r#"{{ .GroupLabels.alertname }} {{ .CommonLabels.nothing }}|{{ .CommonAnnotations.summary }}"#,
            r#"{{ range .Alerts }}{{ .Labels.symbol }} {{ .StartsAt.Format "15:04:05 MST" }};{{ end }}"#,
            r#"{{ range .CommonLabels.SortedPairs }}{{ .Name }}={{ .Value }} {{ end }}"#,
            r#"{{ .CommonLabels.SortedPairs.Names | join "," }} {{ .CommonLabels.Values | join "," }} {{ .CommonLabels.SortedPairs }}"#,
            r#"{{ with .CommonLabels.Remove .GroupLabels.Names }}{{ .Values | join " " }}{{ end }}"#,
            r#"{{ (.CommonLabels.Remove (stringSlice "alertname")).Names | join "-" }}"#,
            r#"{{ toUpper "a" }} {{ title "two words" }} {{ trimSpace "  x " }}| {{ match "^a" "abc" }} {{ reReplaceAll "b+" "-" "abbc" }}"#,
            r#"{{ (index .Alerts 0).StartsAt | since | humanizeDuration }} {{ since (index .Alerts 0).StartsAt }}"#,
            r#"{{ (index .Alerts 0).StartsAt | tz "America/New_York" | date "2006-01-02 15:04 MST" }}"#,
            r#"{{ $first := index .Alerts 0 }}{{ $first.StartsAt }} {{ $first.EndsAt.IsZero }} {{ (tz "Europe/Berlin" $first.StartsAt) }}"#,
            r#"{{ toJson .CommonLabels }} {{ (index .Alerts 0) | toJson }}"#,
            r#"{{ urlquery "a b" }} {{ urlUnescape "a%20b+c" }} {{ printf "%d alerts" (len .Alerts) }}"#,
            r#"{{ range $name, $value := .CommonLabels }}{{ $name }}:{{ $value }};{{ end }}{{ $d := dict "a" 1 }}{{ $d.a }}{{ list 1 2 | len }}"#,
            r#"{{ define "mine" }}[{{ . }}]{{ end }}{{ template "mine" .Status }}"#,
        ],
        Escape::None,
        expect![[r#"
            {{ .Receiver }} {{ .Status }} {{ len .Alerts }} {{ .Alerts.Firing | len }} {{ len .Alerts.Resolved }} {{ .ExternalURL }}
                desk a firing 2 1 1 http://m:9090
            {{ .GroupLabels.alertname }} {{ .CommonLabels.nothing }}|{{ .CommonAnnotations.summary }}
                Stale |price is <stale> & old
            {{ range .Alerts }}{{ .Labels.symbol }} {{ .StartsAt.Format "15:04:05 MST" }};{{ end }}
                AAPL 19:03:06 UTC;MSFT 19:03:06 UTC;
            {{ range .CommonLabels.SortedPairs }}{{ .Name }}={{ .Value }} {{ end }}
                alertname=Stale severity=critical 
            {{ .CommonLabels.SortedPairs.Names | join "," }} {{ .CommonLabels.Values | join "," }} {{ .CommonLabels.SortedPairs }}
                alertname,severity Stale,critical [{alertname Stale} {severity critical}]
            {{ with .CommonLabels.Remove .GroupLabels.Names }}{{ .Values | join " " }}{{ end }}
                critical
            {{ (.CommonLabels.Remove (stringSlice "alertname")).Names | join "-" }}
                severity
            {{ toUpper "a" }} {{ title "two words" }} {{ trimSpace "  x " }}| {{ match "^a" "abc" }} {{ reReplaceAll "b+" "-" "abbc" }}
                A Two Words x| true a-c
            {{ (index .Alerts 0).StartsAt | since | humanizeDuration }} {{ since (index .Alerts 0).StartsAt }}
                1m 0s 1m0s
            {{ (index .Alerts 0).StartsAt | tz "America/New_York" | date "2006-01-02 15:04 MST" }}
                2026-11-20 14:03 EST
            {{ $first := index .Alerts 0 }}{{ $first.StartsAt }} {{ $first.EndsAt.IsZero }} {{ (tz "Europe/Berlin" $first.StartsAt) }}
                2026-11-20 19:03:06.4 +0000 UTC true 2026-11-20 20:03:06.4 +0100 CET
            {{ toJson .CommonLabels }} {{ (index .Alerts 0) | toJson }}
                {"alertname":"Stale","severity":"critical"} {"annotations":{"runbook_url":"http://m/r?a=1&b=2","summary":"price is <stale> & old"},"endsAt":"0001-01-01T00:00:00.000Z","fingerprint":"050fbeb6f7db488a","generatorURL":"http://m/graph","labels":{"alertname":"Stale","severity":"critical","symbol":"AAPL"},"startsAt":"2026-11-20T19:03:06.400Z","status":"firing"}
            {{ urlquery "a b" }} {{ urlUnescape "a%20b+c" }} {{ printf "%d alerts" (len .Alerts) }}
                a+b a b c 2 alerts
            {{ range $name, $value := .CommonLabels }}{{ $name }}:{{ $value }};{{ end }}{{ $d := dict "a" 1 }}{{ $d.a }}{{ list 1 2 | len }}
                alertname:Stale;severity:critical;12
            {{ define "mine" }}[{{ . }}]{{ end }}{{ template "mine" .Status }}
                [firing]
        "#]],
    );
}

#[test]
fn our_own_texts() {
    check(
        &[
            r#"{{ template "slack.default.title" . }}"#,
            r#"{{ template "slack.default.fallback" . }}"#,
            r#"{{ template "slack.default.text" . }}"#,
            r#"{{ template "pagerduty.default.description" . }} {{ template "pagerduty.default.client" . }} {{ template "pagerduty.default.clientURL" . }}"#,
            r#"{{ template "pagerduty.default.instances" .Alerts.Firing }}"#,
            r#"{{ template "discord.default.title" . }}{{ template "discord.default.message" . }}{{ template "discord.default.content" . }}"#,
            r#"{{ template "telegram.default.message" . }} {{ template "twilio.default.message" . }}"#,
            r#"{{ template "email.default.text" . }}"#,
            r#"{{ template "slack.default.username" . }}{{ template "slack.default.callbackid" . }}{{ template "slack.default.pretext" . }}{{ template "slack.default.iconemoji" . }}{{ template "slack.default.iconurl" . }}{{ template "slack.default.footer" . }}"#,
        ],
        Escape::None,
        expect![[r#"
            {{ template "slack.default.title" . }}
                [FIRING:1] Stale (critical)
            {{ template "slack.default.fallback" . }}
                [FIRING:1] Stale (critical) | http://m:9090/alerts?receiver=desk+a
            {{ template "slack.default.text" . }}
                CRITICAL &lt;phone&gt;
            {{ template "pagerduty.default.description" . }} {{ template "pagerduty.default.client" . }} {{ template "pagerduty.default.clientURL" . }}
                [FIRING:1] Stale (critical) tradewatch http://m:9090/alerts?receiver=desk+a
            {{ template "pagerduty.default.instances" .Alerts.Firing }}
                Labels:
             - alertname = Stale
             - severity = critical
             - symbol = AAPL
            Annotations:
             - runbook_url = http://m/r?a=1&b=2
             - summary = price is <stale> & old
            Source: http://m/graph

            {{ template "discord.default.title" . }}{{ template "discord.default.message" . }}{{ template "discord.default.content" . }}
                [FIRING:1] Stale (critical)CRITICAL <phone>
            {{ template "telegram.default.message" . }} {{ template "twilio.default.message" . }}
                CRITICAL <phone> CRITICAL <phone>
            {{ template "email.default.text" . }}
                CRITICAL <phone>

            Firing
            Labels:
             - alertname = Stale
             - severity = critical
             - symbol = AAPL
            Annotations:
             - runbook_url = http://m/r?a=1&b=2
             - summary = price is <stale> & old
            Source: http://m/graph
            Resolved
            Labels:
             - alertname = Stale
             - severity = critical
             - symbol = MSFT
            Annotations:
             - runbook_url = http://m/r?a=1&b=2
             - summary = price is <stale> & old
            Source: http://m/graph
            http://m:9090/alerts?receiver=desk+a

            {{ template "slack.default.username" . }}{{ template "slack.default.callbackid" . }}{{ template "slack.default.pretext" . }}{{ template "slack.default.iconemoji" . }}{{ template "slack.default.iconurl" . }}{{ template "slack.default.footer" . }}
                tradewatch
        "#]],
    );
}

#[test]
fn html_escapes_what_is_inserted() {
    check(
        &[
            r#"{{ template "email.default.html" . }}"#,
            r#"{{ .CommonAnnotations.summary }} {{ .CommonAnnotations.summary | safeHtml }} {{ template "telegram.default.message" . }}"#,
        ],
        Escape::Html,
        expect![[r#"
            {{ template "email.default.html" . }}
                <!DOCTYPE html>
            <html><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>[FIRING:1] Stale (critical)</title></head>
            <body style="font-family:sans-serif;font-size:14px;max-width:640px;margin:0 auto;padding:12px">
            <h1 style="font-size:18px">[FIRING:1] Stale (critical)</h1>
            <table style="border-collapse:collapse;margin:0 0 16px;width:100%">
            <tr><td style="border-left:4px solid #c62828;padding:4px 12px">
            <p style="margin:0 0 4px;font-size:16px"><b>Stale</b> &middot; critical &middot; since 2026-11-20 19:03:06 UTC</p>
            <p style="margin:0 0 4px">price is &lt;stale&gt; &amp; old</p>

            <p style="margin:0 0 4px;color:#555">alertname=Stale severity=critical symbol=AAPL </p>
            <p style="margin:0"><a href="http://m/r?a=1&amp;b=2">Runbook</a> <a href="http://m/graph">Expression</a></p>
            </td></tr></table>
            <table style="border-collapse:collapse;margin:0 0 16px;width:100%">
            <tr><td style="border-left:4px solid #2e7d32;padding:4px 12px">
            <p style="margin:0 0 4px;font-size:16px"><b>Stale</b> &middot; critical &middot; over at 0001-01-01 00:00:00 UTC</p>
            <p style="margin:0 0 4px">price is &lt;stale&gt; &amp; old</p>

            <p style="margin:0 0 4px;color:#555">alertname=Stale severity=critical symbol=MSFT </p>
            <p style="margin:0"><a href="http://m/r?a=1&amp;b=2">Runbook</a> <a href="http://m/graph">Expression</a></p>
            </td></tr></table>

            <p><a href="http://m:9090/alerts?receiver=desk+a">Acknowledge or silence</a></p>
            </body></html>

            {{ .CommonAnnotations.summary }} {{ .CommonAnnotations.summary | safeHtml }} {{ template "telegram.default.message" . }}
                price is &lt;stale&gt; &amp; old price is <stale> & old CRITICAL &lt;phone&gt;
        "#]],
    );
}

#[test]
fn what_is_wrong_has_a_place() {
    check(
        &[
            "{{ nothere . }}",
            "x {{ .Status",
            "{{ .Nothing }}",
            "{{ .Status.Foo }}",
            r#"{{ template "nothere" . }}"#,
            "{{ toUpper .Alerts }}",
            "a\n  {{ date \"15\" \"x\" }}",
            r#"{{ define "l" }}{{ template "l" . }}{{ end }}{{ template "l" . }}"#,
            "{{ range 100000 }}{{ range 100000 }}{{ end }}{{ end }}",
            "{{ end }}",
        ],
        Escape::None,
        expect![[r#"
            {{ nothere . }}
                compile at 3: function "nothere" not defined
            x {{ .Status
                compile at 12: unclosed action
            {{ .Nothing }}
                expand: line 1:3: executing "" at <.Nothing>: can't evaluate field Nothing in type *template.Data
            {{ .Status.Foo }}
                expand: line 1:10: executing "" at <.Status.Foo>: can't evaluate field Foo in type string
            {{ template "nothere" . }}
                expand: line 1:12: executing "" at <{{template "nothere" .}}>: template "nothere" not defined
            {{ toUpper .Alerts }}
                expand: line 1:3: executing "" at <toUpper .Alerts>: error calling toUpper: wrong type for value; expected string; got template.queryResult
            a
              {{ date "15" "x" }}
                expand: line 2:5: executing "" at <date "15" "x">: error calling date: wrong type for value; expected time.Time; got string
            {{ define "l" }}{{ template "l" . }}{{ end }}{{ template "l" . }}
                expand: line 1:28: executing "" at <{{template "l" .}}>: recursion limit exceeded
            {{ range 100000 }}{{ range 100000 }}{{ end }}{{ end }}
                expand: line  executing "": more than 100000 rounds of range
            {{ end }}
                compile at 0: unexpected {{end}}
        "#]],
    );
}

#[test]
fn a_file_replaces_what_has_the_same_name() {
    let set = Set::default().with_file(r#"{{ define "slack.default.title" }}ours{{ end }}{{ define "x" }}{{ template "__subject" . }}{{ end }}"#);
    let set = set.expect("compiles");
    let notice = set
        .compile(r#"{{ template "slack.default.title" . }} {{ template "x" . }} {{ template "slack.default.fallback" . }}"#)
        .expect("compiles");
    expect!["ours [FIRING:1] Stale (critical) ours | http://m:9090/alerts?receiver=desk+a"]
        .assert_eq(&notice.expand(&data(), Escape::None).expect("expands"));
    let error = set.with_file("a\n{{ define \"y\" }}{{ nothere }}{{ end }}").err().expect("broken");
    assert_eq!((error.offset, error.message.as_str()), (21, "function \"nothere\" not defined"));
}
