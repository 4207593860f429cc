//! A configuration file for people: without its secrets and without its comments, which may hold old ones.

use serde_saphyr::granit_parser::ScalarStyle;

use crate::yaml::{Kind, Node};

/// What stands for a secret, as in Alertmanager.
const SECRET: &str = "<secret>";

/// Keys whose values are secrets wherever they stand.
const SECRET_KEYS: [&str; 30] = [
    "api_key",
    "api_key_secret",
    "api_secret",
    "app_token",
    "auth_password",
    "auth_secret",
    "auth_token",
    "bearer_token",
    "bot_token",
    "client_secret",
    "credentials",
    "key",
    "mattermost_webhook_url",
    "opsgenie_api_key",
    "password",
    "routing_key",
    "secret_key",
    "secrets",
    "service_key",
    "slack_api_url",
    "slack_app_token",
    "smtp_auth_password",
    "smtp_auth_secret",
    "telegram_bot_token",
    "token",
    "token_id",
    "user_key",
    "victorops_api_key",
    "webhook_url",
    "wechat_api_secret",
];

/// Prints the document anew.
pub(super) fn print(root: &Node) -> String {
    let mut out = String::new();
    write(root, 0, "", "", &mut out);
    out
}

/// Whether the value of `key` in an entry of `kind` (`slack_configs`, …) is a secret.
fn is_secret(key: &str, kind: &str) -> bool {
    SECRET_KEYS.contains(&key)
        || (key == "url" && kind == "webhook_configs")
        || (key == "api_url" && matches!(kind, "slack_configs" | "mattermost_configs"))
        || matches!(key, "rocketchat_token" | "rocketchat_token_id" | "proxy_connect_header")
}

fn write(node: &Node, depth: usize, key: &str, kind: &str, out: &mut String) {
    let indent = "  ".repeat(depth);
    let hidden = is_secret(key, kind);
    match &node.kind {
        Kind::Map(entries) if !entries.is_empty() => {
            for (name, value) in entries {
                let name = name.text().unwrap_or("");
                *out += &format!("{indent}{}:", scalar(name, ScalarStyle::Plain));
                // The kind of receiver and what is hidden as a whole are kept on the way down.
                let kind = if name.ends_with("_configs") { name } else { kind };
                let below = if hidden && key != "key" { key } else { name };
                follow(value, depth, below, kind, out);
            }
        }
        Kind::List(items) if !items.is_empty() => {
            for item in items {
                *out += &format!("{indent}-");
                follow(item, depth, key, kind, out);
            }
        }
        _ => {
            *out += &leaf(node, hidden, key);
            out.push('\n');
        }
    }
}

/// What stands behind `name:` or `-`.
fn follow(node: &Node, depth: usize, key: &str, kind: &str, out: &mut String) {
    match &node.kind {
        Kind::Map(entries) if !entries.is_empty() => out.push('\n'),
        Kind::List(items) if !items.is_empty() => out.push('\n'),
        _ => out.push(' '),
    }
    write(node, depth + 1, key, kind, out);
}

fn leaf(node: &Node, hidden: bool, key: &str) -> String {
    match &node.kind {
        Kind::Null => "null".to_owned(),
        Kind::Map(_) => "{}".to_owned(),
        Kind::List(_) => "[]".to_owned(),
        // Versions of `amtool` up to 0.25 read only an address as the address of a webhook.
        Kind::Scalar { text, .. } if hidden && key == "url" => {
            let (scheme, rest) = text.split_once("://").unwrap_or(("http", "hidden"));
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            scalar(&format!("{scheme}://{host}/{SECRET}"), ScalarStyle::Plain)
        }
        Kind::Scalar { text, .. } if hidden && !text.is_empty() => SECRET.to_owned(),
        Kind::Scalar { text, style } => match without_user(text, key) {
            Some(shown) => scalar(&shown, *style),
            None => scalar(text, *style),
        },
    }
}

/// An address without the password in it.
fn without_user(text: &str, key: &str) -> Option<String> {
    if !key.contains("url") {
        return None;
    }
    let (scheme, rest) = text.split_once("://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (user, _) = rest[..end].rsplit_once('@')?;
    let name = user.split(':').next().unwrap_or("");
    Some(format!("{scheme}://{name}:xxxxx{}", &rest[user.len()..]))
}

/// A scalar as YAML that reads as the same.
fn scalar(text: &str, style: ScalarStyle) -> String {
    let plain = matches!(style, ScalarStyle::Plain)
        && !text.is_empty()
        && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '+'))
        && !text.starts_with('-')
        || text.parse::<i64>().is_ok() && matches!(style, ScalarStyle::Plain);
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    #[test]
    fn secrets_and_comments_are_gone() {
        let text = r#"
global:   # old password: hunter1
  slack_api_url: https://hooks.slack.com/services/SECRET1
  smtp_auth_password: 'SECRET2'
  http_config: {proxy_url: 'http://ada:SECRET3@proxy:3128', basic_auth: {username: u, password: SECRET4}}
route: {receiver: desk, group_wait: 0s, routes: [{matchers: ['a="b"', 'c=~"d|e"'], continue: true}]}
receivers:
- name: desk
  webhook_configs:
  - url: http://h/SECRET5
    http_config:
      authorization: {credentials: SECRET6}
      http_headers: {X-Api-Key: {secrets: [SECRET7, SECRET8], values: [shown]}}
      proxy_connect_header: {X-P: [SECRET9]}
      tls_config: {key: SECRET10, ca_file: ca.pem}
  telegram_configs: [{bot_token: SECRET11, chat_id: -5, api_url: 'http://shown'}]
  opsgenie_configs: [{api_key: SECRET12, api_url: 'http://shown'}]
  slack_configs: [{api_url: SECRET13, channel: '#ops', title: "a: \"b\"\nc", link_names: true}]
  discord_configs: [{webhook_url: SECRET14}]
  pagerduty_configs: [{routing_key: SECRET15, service_key_file: shown, url: 'http://shown'}]
  twilio_configs: [{account_sid: AC1, auth_token: SECRET16, to: ['+1']}]
templates: []
"#;
        let (root, _) = crate::yaml::parse("a.yml", text).expect("YAML");
        let printed = super::print(&root.expect("not empty"));
        assert!(!printed.contains("SECRET") && !printed.contains("hunter"), "{printed}");
        expect![[r##"
            global:
              slack_api_url: <secret>
              smtp_auth_password: <secret>
              http_config:
                proxy_url: "http://ada:xxxxx@proxy:3128"
                basic_auth:
                  username: u
                  password: <secret>
            route:
              receiver: desk
              group_wait: 0s
              routes:
                -
                  matchers:
                    - "a=\"b\""
                    - "c=~\"d|e\""
                  continue: true
            receivers:
              -
                name: desk
                webhook_configs:
                  -
                    url: "http://h/<secret>"
                    http_config:
                      authorization:
                        credentials: <secret>
                      http_headers:
                        X-Api-Key:
                          secrets:
                            - <secret>
                            - <secret>
                          values:
                            - shown
                      proxy_connect_header:
                        X-P:
                          - <secret>
                      tls_config:
                        key: <secret>
                        ca_file: ca.pem
                telegram_configs:
                  -
                    bot_token: <secret>
                    chat_id: -5
                    api_url: "http://shown"
                opsgenie_configs:
                  -
                    api_key: <secret>
                    api_url: "http://shown"
                slack_configs:
                  -
                    api_url: <secret>
                    channel: "#ops"
                    title: "a: \"b\"\nc"
                    link_names: true
                discord_configs:
                  -
                    webhook_url: <secret>
                pagerduty_configs:
                  -
                    routing_key: <secret>
                    service_key_file: shown
                    url: "http://shown"
                twilio_configs:
                  -
                    account_sid: AC1
                    auth_token: <secret>
                    to:
                      - "+1"
            templates: []
        "##]]
        .assert_eq(&printed);
        let (again, _) = crate::yaml::parse("a.yml", &printed).expect("YAML");
        assert_eq!(super::print(&again.expect("not empty")), printed, "it reads as what it is");
    }
}
