//! Template texts and rules, rendered by us and by Debian's promtool: the same file, the same words.

use std::path::Path;
use std::process::Command;

/// One text each; what promtool 2.42 knows. `tmpl` is not among it: Prometheus has it in console pages
/// only. `pathPrefix` and `externalURL` are not, since promtool has no URL and meets a nil pointer there.
const TEXTS: &[&str] = &[
    "{{ $labels.instance }} {{ $value }} {{ .Labels.job }} {{ .Value }} [{{ $labels.missing }}]",
    "{{ $externalLabels.site }}{{ .ExternalLabels.none }} [{{ $externalURL }}] [{{ .ExternalURL }}]",
    "{{ humanize $value }} {{ humanize 0 }} {{ humanize 0.00012 }} {{ humanize -12345.678 }} {{ humanize 1e30 }} {{ humanize \"1e9\" }}",
    "{{ humanize1024 1 }} {{ humanize1024 1024 }} {{ humanize1024 -1048576 }} {{ humanize1024 0.5 }} {{ humanize1024 1e30 }}",
    "{{ humanizeDuration 0 }} {{ humanizeDuration 0.0012 }} {{ humanizeDuration 59.9 }} {{ humanizeDuration 90061 }} {{ humanizeDuration -61 }} {{ humanizeDuration 1e-10 }}",
    "{{ humanizePercentage 0.9599 }} {{ humanizePercentage -1 }} {{ humanizePercentage 1e-9 }}",
    "{{ humanizeTimestamp 0 }} {{ humanizeTimestamp 1435065584.128 }} {{ humanizeTimestamp -1.5 }}",
    "{{ humanize \"Inf\" }} {{ humanize \"-Inf\" }} {{ humanizeDuration \"NaN\" }} {{ humanizeTimestamp \"+Inf\" }}",
    "{{ query \"m\" | sortByLabel \"instance\" | first | value }} {{ query \"m\" | len }} {{ query \"m\" | sortByLabel \"instance\" | first | label \"instance\" }}",
    "{{ range query \"m\" | sortByLabel \"instance\" }}{{ .Labels.instance }}={{ .Value }};{{ end }}",
    "{{ with query \"nothing\" }}some{{ else }}none{{ end }} {{ query \"nothing\" | len }}",
    "{{ query \"m\" | first | strvalue }}|{{ range query \"m offset 1h\" }}x{{ else }}empty{{ end }}",
    "{{ title \"a word of o'neil foo_bar 2nd\" }} {{ toUpper \"äb\" }} {{ toLower \"ÄB\" }}",
    "{{ match \"^[a-z]+$\" \"abc\" }} {{ match \"B\" \"abc\" }} {{ reReplaceAll \"(a+)(b)?\" \"<$1|$2>\" \"aab ab b\" }} {{ reReplaceAll \"x*\" \"-\" \"abc\" }}",
    "{{ reReplaceAll \"(?P<host>[^:]+):.*\" \"${host}!\" $labels.instance }} {{ reReplaceAll \"$\" \"end\" \"a\" }}",
    "{{ stripPort $labels.instance }} {{ stripPort \"[::1]:80\" }} {{ stripPort \"::1\" }} {{ stripPort \"host\" }}",
    "{{ stripDomain \"a.b.c:80\" }} {{ stripDomain \"a.b.c\" }} {{ stripDomain \"10.0.0.1:80\" }} {{ stripDomain \"[::1]:80\" }} {{ stripDomain \"a\" }}",
    "{{ graphLink \"up{a=\\\"b\\\"} > 1\" }} {{ tableLink \"sum(rate(m[5m])) by (x)\" }}",
    "{{ parseDuration \"1h30m\" }} {{ parseDuration \"250ms\" }} {{ 1643114203 | toTime }} {{ (toTime 1643114203.25).Unix }}",
    "{{ safeHtml \"<b>\" }} {{ html \"<b>\" }} {{ js \"it's <\" }} {{ urlquery \"a b&c\" }}",
    "{{ args 1 \"two\" 3.5 }} {{ with args \"x\" 2 }}{{ .arg0 }}-{{ .arg1 }}{{ end }}",
    "{{ define \"t\" }}({{ . }}){{ end }}{{ template \"t\" $value }}{{ template \"t\" \"x\" }}",
    "{{ printf \"%.3f %s %v %d %q %x %5d|%-5s|%e %t %%\" $value \"s\" true 7 \"q\\\"\" 255 42 \"ab\" 12345.678 false }}",
    "{{ if and (gt $value 10.0) (lt $value 1e9) }}in{{ else if eq $labels.job \"x\" }}x{{ else }}out{{ end }} {{ not true }} {{ or 0 \"a\" }} {{ ne 1 2 }} {{ le 1.0 1.0 }} {{ ge \"b\" \"a\" }}",
    "{{ index $labels \"job\" }} {{ len $labels }} {{ slice \"abcdef\" 1 3 }} {{ print 1 2 \"x\" 3 }}|{{ println \"a\" 1 }}|",
    "{{ range $k, $v := $labels }}{{ $k }}:{{ $v }},{{ end }} {{ $labels }}",
    "{{ 1000000.0 }} {{ 123456.7 }} {{ 1e21 }} {{ 0.00001 }} {{ 100000000 }} {{ true }}",
    "{{- /* gone */ -}}  a {{- \" b \" -}} c",
    // What fails.
    "{{ query \"nothing\" | first }}",
    "{{ humanize $labels.job }}",
    "two\nlines {{ humanize $labels.job }}",
    "{{ $value.Foo }}",
    "{{ template \"nothere\" }}",
    "{{ humanize }}",
    "{{ humanize 1 2 }}",
    "{{ reReplaceAll \"[\" \"\" \"x\" }}",
    "{{ range query \"m\" }}{{ .Foo }}{{ end }}",
    "{{ query \"m{\" }}",
    "{{ lt \"a\" 1 }}",
    "{{ parseDuration \"soon\" }}",
    "{{ len 3 }}",
    "{{ index $labels 1 }}",
    "{{ match \"(\" \"x\" }}",
];

fn files(folder: &Path) {
    let mut rules = String::from("groups:\n- name: g\n  rules:\n");
    let mut cases = String::new();
    for (at, text) in TEXTS.iter().enumerate() {
        let quoted = serde_json::to_string(text).expect("JSON");
        rules += &format!(
            "  - alert: T{at:02}\n    expr: m{{instance=\"a.b:80\"}}\n    annotations: {{text: {quoted}}}\n"
        );
        cases += &format!("  - {{eval_time: 1m, alertname: T{at:02}, exp_alerts: []}}\n");
    }
    std::fs::write(folder.join("rules.yml"), rules).expect("writes");
    let test = format!(
        "rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n- interval: 1m\n  external_labels: {{site: lab}}\n  input_series:\n  - {{series: 'm{{instance=\"a.b:80\",job=\"gw\"}}', values: '1234567.5 1234567.5'}}\n  - {{series: 'm{{instance=\"A.c:81\",job=\"gw\"}}', values: '3 3'}}\n  alert_rule_test:\n{cases}"
    );
    std::fs::write(folder.join("test.yml"), test).expect("writes");
}

/// The alert of each rule as a failed expectation prints it: `T07` and its text.
fn rendered(output: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for part in output.split("alertname: ").skip(1) {
        let name: String = part.chars().take_while(char::is_ascii_alphanumeric).collect();
        let got = part
            .split("Annotations:")
            .nth(1)
            .map_or("nothing", |got| got.split("\n            ]").next().unwrap_or(got));
        let got = got.split("\n    ").next().unwrap_or(got).trim().trim_end_matches(']').trim();
        found.push((name, got.to_owned()));
    }
    found
}

#[test]
fn promtool_renders_every_text_as_we_do() {
    let folder = tempfile::tempdir().expect("a folder");
    files(folder.path());
    let output = Command::new("promtool")
        .args(["test", "rules", "test.yml"])
        .current_dir(folder.path())
        .output()
        .expect("the Debian package prometheus is installed");
    let theirs = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let text = std::fs::read_to_string(folder.path().join("test.yml")).expect("just written");
    let mut load = |pattern: &str| {
        let text = std::fs::read_to_string(folder.path().join(pattern)).map_err(|e| e.to_string())?;
        Ok(vec![(pattern.to_owned(), text)])
    };
    let ours = tradewatch_alert::unittest::run("test.yml", &text, &mut load).to_string();
    let (raw, theirs, ours) = (&theirs, rendered(&theirs), rendered(&ours));
    assert_eq!(theirs.len(), TEXTS.len(), "promtool: {raw}");
    let differs: Vec<String> = theirs
        .iter()
        .zip(&ours)
        .zip(TEXTS)
        .filter(|((theirs, ours), _)| theirs != ours)
        .map(|((theirs, ours), text)| format!("{text}\n  promtool {theirs:?}\n  we       {ours:?}"))
        .collect();
    assert!(
        differs.is_empty() && ours.len() == theirs.len(),
        "{} differ:\n{}",
        differs.len(),
        differs.join("\n")
    );
}
