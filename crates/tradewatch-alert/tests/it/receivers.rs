//! Receivers as `alertmanager.yml` writes them.

use expect_test::{Expect, expect};
use tradewatch_alert::route::{Channel, Config};
use tradewatch_alert::template::notice::Set;

/// Every documented field of each receiver once; no word of warning may come of it.
const EVERYTHING: &str = r##"
global:
  slack_api_url: https://hooks.slack.com/services/T/B/X
  pagerduty_url: https://events.eu.pagerduty.com
  telegram_api_url: https://telegram.example
  telegram_bot_token_file: bot.token
  smtp_smarthost: mail.example:587
  smtp_from: monitor@example.org
  smtp_hello: monitor.example.org
  smtp_auth_username: monitor
  smtp_auth_password_file: mail.password
  smtp_auth_identity: monitor
  smtp_require_tls: true
  smtp_tls_config: {ca_file: ca.pem}
  http_config: {follow_redirects: false}
templates: ['*.tmpl']
route: {receiver: all}
receivers:
- name: all
  slack_configs:
  - channel: '#desk'
    send_resolved: true
    username: u
    icon_emoji: ':x:'
    icon_url: https://i
    link_names: true
    callback_id: c
    color: '{{ if eq .Status "firing" }}danger{{ else }}good{{ end }}'
    fallback: f
    footer: f
    pretext: p
    text: '{{ range .Alerts }}{{ .Annotations.summary }}{{ end }}'
    title: '{{ template "slack.default.title" . }}'
    title_link: https://l
    image_url: https://i
    thumb_url: https://t
    message_text: m
    short_fields: true
    mrkdwn_in: [text]
    fields: [{title: t, value: v}, {title: t, value: v, short: false}]
    actions:
    - {type: button, text: Silence, url: https://s, style: danger, confirm: {text: sure, title: t, ok_text: y, dismiss_text: n}}
    - {type: button, text: Ack, name: ack, value: '1'}
    http_config:
      authorization: {type: Bearer, credentials_file: slack.token}
      proxy_url: http://proxy:3128
      no_proxy: localhost,10.0.0.0/8
      proxy_connect_header: {X-P: [a]}
      tls_config: {ca_file: ca.pem, cert_file: c.pem, key_file: k.pem, server_name: s, insecure_skip_verify: false, min_version: TLS12, max_version: TLS13}
      http_headers: {X-A: {values: [a], secrets: [b], files: [c]}}
      follow_redirects: true
      enable_http2: true
    timeout: 5s
  - {app_token_file: app.token, channel: C1}
  pagerduty_configs:
  - routing_key_file: pd.key
    url: https://events.pagerduty.com/v2/enqueue
    client: c
    client_url: https://c
    description: d
    severity: '{{ .CommonLabels.severity }}'
    source: s
    class: c
    component: c
    group: g
    details: {venue: '{{ .CommonLabels.mic }}', firing: none}
    images: [{href: https://h, src: https://s, alt: a}]
    links: [{href: https://h, text: t}]
  - {service_key: k}
  email_configs:
  - to: a@example.org, b@example.org
    headers: {Subject: s, X-Priority: '1'}
    html: <b>{{ .Status }}</b>
    text: '{{ .Status }}'
    tls_config: {server_name: m}
    require_tls: true
    threading: {enabled: true, thread_by_date: daily}
  - {to: c@example.org, from: x@example.org, smarthost: '[::1]:465', hello: h, auth_username: '', require_tls: false}
  telegram_configs:
  - {chat_id: -1001, message_thread_id: 5, message: m, disable_notifications: true, parse_mode: MarkdownV2}
  - {bot_token: t, chat_id_file: chat, api_url: http://t}
  discord_configs:
  - {webhook_url_file: discord.url, title: t, message: m, content: c, username: u, avatar_url: https://a}
  twilio_configs:
  - account_sid: AC1
    auth_token_file: twilio.token
    from: '+1555'
    to: ['+1', '+2']
    message: m
    rate_limit: 3/1m
  - {account_sid: AC1, api_key_sid: SK1, api_key_secret: x, messaging_service_sid: MG1, to: '+3, +4', send_resolved: true, rate_limit: none}
  webhook_configs:
  - {url_file: hook.url, max_alerts: 7, timeout: 3s, http_config: {oauth2: {client_id: i, client_secret_file: s, token_url: https://t, scopes: [a], endpoint_params: {aud: x}, tls_config: {}}}}
inhibit_rules:
- sources: [{matchers: [a="1"], equal: [x]}, {matchers: [b="1"]}]
  target_matchers: [c="1"]
"##;

#[test]
fn every_documented_field_is_taken() {
    let (mut config, found) = Config::parse("a.yml", EVERYTHING).expect("valid");
    assert!(found.is_empty(), "{found:?}");
    config.compile(&Set::default()).expect("the texts compile");
    let mut out = String::new();
    for one in &config.receivers[0].integrations {
        let rate = one.rate_limit.map_or("-".to_owned(), |r| format!("{}/{:?}", r.count, r.per));
        out += &format!("{} resolved={} rate={rate} line={}", one.kind, one.send_resolved, one.line);
        out += &match &one.channel {
            Channel::Slack(s) => {
                format!(" {:?} token={:?} fields={}", s.url.field, s.token.is_some(), s.fields.len())
            }
            Channel::PagerDuty(p) => format!(" {:?} details={}", p.url, p.details.iter().count()),
            Channel::Email(e) => format!(" {}:{} {:?} user={:?}", e.host, e.port, e.security, e.user),
            Channel::Telegram(t) => format!(" {} {:?} {:?}", t.api_url, t.token.file, t.chat.file),
            Channel::Twilio(t) => format!(" {} -> {}{} by {}", t.to, t.from, t.messaging_service_sid, t.user),
            other => format!(" {}", if matches!(other, Channel::Webhook(_)) { "POST" } else { "" }),
        };
        out.push('\n');
    }
    expect![[r#"
        webhook resolved=true rate=- line=93 POST
        slack resolved=true rate=10/10s line=21 "slack_api_url" token=false fields=2
        slack resolved=false rate=10/10s line=54 "app_url" token=true fields=0
        pagerduty resolved=true rate=- line=56 Some("https://events.pagerduty.com/v2/enqueue") details=5
        pagerduty resolved=true rate=- line=69 Some("https://events.eu.pagerduty.com") details=4
        email resolved=false rate=- line=71 mail.example:587 StartTls user="monitor"
        email resolved=false rate=- line=78 ::1:465 Implicit user="monitor"
        telegram resolved=true rate=20/60s line=80 https://telegram.example Some("bot.token") None
        telegram resolved=true rate=20/60s line=81 http://t None Some("chat")
        discord resolved=true rate=5/2s line=83 
        twilio resolved=false rate=3/60s line=85 +1 -> +1555 by AC1
        twilio resolved=false rate=3/60s line=85 +2 -> +1555 by AC1
        twilio resolved=true rate=- line=91 +3 -> MG1 by SK1
        twilio resolved=true rate=- line=91 +4 -> MG1 by SK1
    "#]]
    .assert_eq(&out);
    let slack = config.receivers[0].integrations.iter().find(|i| i.kind == "slack").expect("there");
    assert_eq!((slack.http.headers.len(), slack.http.no_proxy.len()), (3, 2));
    let discord = config.receivers[0].integrations.iter().find(|i| i.kind == "discord").expect("there");
    assert!(!discord.http.follow_redirects, "global http_config is inherited");
}

fn check(receivers: &str, expected: Expect) {
    let text = format!("route: {{receiver: a}}\nreceivers:\n- name: a\n{receivers}\n");
    let (found, broken) = match Config::parse("a.yml", &text) {
        Ok((mut config, found)) => {
            let texts = config.compile(&Set::default()).err().unwrap_or_default();
            let all = config.receivers.iter().flat_map(|r| &r.integrations);
            let broken = all.filter_map(|i| Some(format!("broken: {}: {}\n", i.kind, i.broken.as_ref()?)));
            let broken: String = broken.collect();
            (found.into_iter().chain(texts).collect(), broken)
        }
        Err(errors) => (errors, "refused\n".to_owned()),
    };
    let lines: String = found.iter().map(|error| format!("{error}\n")).collect();
    expected.assert_eq(&(lines + &broken));
}

#[test]
fn a_missing_secret_costs_one_receiver() {
    check(
        r#"  slack_configs: [{channel: x}, {api_url: 'hooks/secret-1'}, {api_url: '${SLACK_URL}'}, {api_url: <secret>}]
  pagerduty_configs: [{client: x}, {routing_key: ''}]
  telegram_configs: [{chat_id: 1}]
  discord_configs: [{webhook_url_file: ''}]
  twilio_configs: [{from: '+1', to: '+2'}]
  webhook_configs: [{max_alerts: 1}]
  email_configs: [{to: a@b, from: c@d, smarthost: 'h:25', auth_username: u}, {to: a@b, from: c@d, smarthost: 'h:25', auth_username: u, auth_secret: s}]"#,
        expect![[r#"
            a.yml:4:19: receiver "a": one of api_url or api_url_file must be configured; add api_url
            a.yml:4:33: receiver "a": unsupported scheme in api_url: it must begin with http:// or https://
            a.yml:4:89: receiver "a": api_url is <secret>, as a page shows it, and not the secret
            a.yml:5:23: receiver "a": one of routing_key, routing_key_file, service_key or service_key_file must be configured; add routing_key_file
            a.yml:5:36: receiver "a": routing_key is empty
            a.yml:6:22: receiver "a": one of bot_token or bot_token_file must be configured; add bot_token
            a.yml:7:21: receiver "a": webhook_url_file names no file
            a.yml:8:20: receiver "a": missing account_sid; add account_sid
            a.yml:8:20: receiver "a": one of auth_token or auth_token_file must be configured; add auth_token
            a.yml:9:21: receiver "a": one of url or url_file must be configured; add url
            a.yml:10:19: receiver "a": auth_username without a password; add auth_password_file
            a.yml:10:78: receiver "a": auth_secret asks for CRAM-MD5, which this version does not speak; add auth_password_file
            broken: webhook: one of url or url_file must be configured
            broken: slack: one of api_url or api_url_file must be configured
            broken: slack: unsupported scheme in api_url: it must begin with http:// or https://
            broken: slack: api_url is <secret>, as a page shows it, and not the secret
            broken: pagerduty: one of routing_key, routing_key_file, service_key or service_key_file must be configured
            broken: pagerduty: routing_key is empty
            broken: email: auth_username without a password
            broken: email: auth_secret asks for CRAM-MD5, which this version does not speak
            broken: telegram: one of bot_token or bot_token_file must be configured
            broken: discord: webhook_url_file names no file
            broken: twilio: missing account_sid
        "#]],
    );
}

#[test]
fn what_is_wrong_is_refused_with_its_place() {
    check(
        r#"  slack_configs:
  - api_url: https://x
    title: 'ok {{ .Status | nothere }}'
  - {api_url: https://x, text: "{{ .Status", fields: [{title: t, value: '{{ end }}'}]}
  email_configs: [{to: a@b, from: c@d, smarthost: 'h:25', headers: {X: '{{ if }}'}}]"#,
        expect![[r#"
            a.yml:6:29: receiver "a": function "nothere" not defined
            a.yml:7:43: receiver "a": unclosed action
            a.yml:7:74: receiver "a": unexpected {{end}}
            a.yml:8:81: receiver "a": empty command
        "#]],
    );
    check(
        r#"  slack_configs: [{api_url: https://x, api_url_file: f, color: [a], fields: [{title: t}], actions: [{type: b, text: t}]}]
  telegram_configs: [{bot_token: t, chat_id: 1, parse_mode: XML, message_thread_id: x, colour: red}]
  email_configs: [{to: a@b}, {to: a@b, from: c@d, smarthost: h}]
  twilio_configs: [{account_sid: a, auth_token: t, to: []}]
  webhook_configs: [{url: https://x, rate_limit: fast, http_config: {proxy_url: 'socks5://p', basic_auth: {username: u}, bearer_token: t}}]"#,
        expect![[r#"
            a.yml:4:29: at most one of api_url and api_url_file must be configured; keep one
            a.yml:4:64: color is a list of 1; write it as text
            a.yml:4:78: missing value in Slack field configuration; add value
            a.yml:4:101: missing name or url in Slack action configuration; add url
            a.yml:5:61: unknown parse_mode "XML"; must be Markdown, MarkdownV2, HTML or empty
            a.yml:5:85: message_thread_id is "x"; write a whole number
            a.yml:5:88: unknown field "colour" in telegram_configs; remove it; known are send_resolved, rate_limit, timeout, max_alerts, http_config, api_url, bot_token, bot_token_file, chat_id, chat_id_file, message_thread_id, message, parse_mode, disable_notifications
            a.yml:6:19: missing from address in email config; add from, or smtp_from under global
            a.yml:6:19: missing smarthost in email config; add smarthost: host:587
            a.yml:6:30: address "h": missing port in address; write host:587
            a.yml:7:20: one of from and messaging_service_sid must be configured; add from
            a.yml:7:20: to has 0 numbers, 1 to 50 may be told; write to: ['+14155550100']
            a.yml:8:50: rate_limit is "fast"; write for example 20/1m, or none
            a.yml:8:69: at most one of basic_auth, oauth2, bearer_token and authorization must be configured; keep one
            a.yml:8:81: proxy_url must begin with http://; write http://host:port
            refused
        "#]],
    );
}
