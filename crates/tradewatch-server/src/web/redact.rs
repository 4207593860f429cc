//! `alertmanager.yml` without its secrets, as `amtool config show` and the status page get it.

use serde_json::Value as Json;

/// What stands for a secret; Alertmanager's own tools read it back as one.
const HIDDEN: &str = "<secret>";
/// What is in force without a file.
pub const TERMINAL: &str = "route:\n  receiver: terminal\n  group_by: [alertname]\n  group_wait: 0s\n  group_interval: 1s\n  repeat_interval: 4h\nreceivers:\n- name: terminal\n";

/// Names that end in one of these hold a secret wherever they stand.
const SECRET_ENDINGS: [&str; 13] = [
    "password",
    "_secret",
    "secret_key",
    "credentials",
    "api_key",
    "routing_key",
    "service_key",
    "user_key",
    "token",
    "webhook_url",
    "slack_api_url",
    "bearer_token",
    "auth_sid",
];

/// The text in force, printed anew: comments go, secrets too, references to files stay.
///
/// A text that is no YAML gives a comment that says so: nothing of it is shown.
pub fn alertmanager(text: &str) -> String {
    let read: Result<Json, _> = serde_saphyr::from_str(text);
    let printed = read.map_err(|error| error.without_snippet().to_string()).and_then(|mut json| {
        hide(&mut json, "");
        serde_saphyr::to_string(&json).map_err(|error| error.to_string())
    });
    printed.unwrap_or_else(|error| format!("# not printable: {error}\n"))
}

/// Hides what is secret in `value`, which stands under the key `parent`.
fn hide(value: &mut Json, parent: &str) {
    match value {
        Json::Object(map) => {
            for (key, value) in map.iter_mut() {
                let secret = SECRET_ENDINGS.iter().any(|ending| key.ends_with(ending))
                    || (key == "api_url" && parent == "slack_configs");
                if key == "url" && parent == "webhook_configs" {
                    hide_path(value);
                    continue;
                }
                if parent == "http_headers" {
                    hide_all(value);
                } else if secret && !value.is_null() {
                    *value = Json::from(HIDDEN);
                } else {
                    hide(value, key);
                }
            }
        }
        Json::Array(items) => items.iter_mut().for_each(|item| hide(item, parent)),
        Json::String(text) => {
            // A password may stand in an address: http://user:password@proxy.
            if let Some((scheme, rest)) = text.split_once("://")
                && let Some((login, host)) = rest.split_once('@')
                && let Some((user, _)) = login.split_once(':')
            {
                *text = format!("{scheme}://{user}:{HIDDEN}@{host}");
            }
        }
        _ => {}
    }
}

/// Hides what follows the host: older versions of `amtool` read only addresses where an address belongs.
fn hide_path(url: &mut Json) {
    let Some(text) = url.as_str() else { return };
    *url = match text.split_once("://") {
        Some((scheme, rest)) => {
            let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            Json::from(format!("{scheme}://{host}/{HIDDEN}"))
        }
        None => Json::from(HIDDEN),
    };
}

/// Hides every text in `value`: HTTP headers carry secrets under any name.
fn hide_all(value: &mut Json) {
    match value {
        Json::Object(map) => map.values_mut().for_each(hide_all),
        Json::Array(items) => items.iter_mut().for_each(hide_all),
        Json::String(text) => *text = HIDDEN.to_owned(),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn secrets_are_hidden_and_the_rest_is_printed_anew() {
        let text = r#"
global: {smtp_auth_password: geheim, slack_api_url: "https://hooks/geheim", resolve_timeout: 5m}  # geheim
route: {receiver: desk, group_by: ['...'], routes: [{matchers: ['severity="critical"'], receiver: pager}]}
receivers:
- name: desk
  webhook_configs:
  - url: http://me:geheim@example/geheim?geheim
    http_config:
      authorization: {type: Bearer, credentials: geheim}
      proxy_url: http://me:geheim@proxy:3128
      http_headers: {X-Any: {values: [geheim], files: [h.txt]}}
- name: pager
  pagerduty_configs: [{routing_key: geheim, routing_key_file: key.txt, url: "https://events.example"}]
"#;
        let printed = alertmanager(text);
        expect![[r#"
            global:
              smtp_auth_password: <secret>
              slack_api_url: <secret>
              resolve_timeout: 5m
            route:
              receiver: desk
              group_by:
              - "..."
              routes:
              - matchers:
                - severity="critical"
                receiver: pager
            receivers:
            - name: desk
              webhook_configs:
              - url: http://example/<secret>
                http_config:
                  authorization:
                    type: Bearer
                    credentials: <secret>
                  proxy_url: http://me:<secret>@proxy:3128
                  http_headers:
                    X-Any:
                      values:
                      - <secret>
                      files:
                      - <secret>
            - name: pager
              pagerduty_configs:
              - routing_key: <secret>
                routing_key_file: key.txt
                url: https://events.example
        "#]]
        .assert_eq(&printed);
        assert!(alertmanager("a: [").starts_with("# not printable"));
        assert!(serde_saphyr::from_str::<Json>(TERMINAL).is_ok());
    }
}
