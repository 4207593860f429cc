//! Checks answers against the published OpenAPI document of the trading API.
//!
//! Knows the schema words that the document uses and fails on any other, so that nothing passes unread.

use serde_json::Value;
use std::sync::OnceLock;

fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        serde_json::from_str(include_str!("../data/alpaca-trading-api.openapi.json"))
            .expect("a JSON document")
    })
}

/// Panics unless `body` is what the document publishes for this method, path template and status.
pub fn check(method: &str, path: &str, status: u16, body: Option<&Value>) {
    let responses = &document()["paths"][path][method]["responses"];
    let what = format!("{method} {path} {status}");
    assert!(responses.is_object(), "{what}: not in the document");
    let response = &responses[status.to_string()];
    if !(200..300).contains(&status) {
        // Errors are published without a schema or as the Error object; Alpaca always sends code and message.
        let body = body.unwrap_or_else(|| panic!("{what}: an error has a body"));
        assert!(body["code"].is_u64() && body["message"].is_string(), "{what}: {body}");
        return;
    }
    assert!(response.is_object(), "{what}: this status is not published");
    match (&response["content"]["application/json"]["schema"], body) {
        (Value::Null, None) => {}
        (Value::Null, Some(body)) => panic!("{what}: no body is published, got {body}"),
        (_, None) => panic!("{what}: a body is published, got none"),
        (schema, Some(body)) => {
            if let Err(problem) = matches(schema, body, "") {
                panic!("{what}: {problem}\n{body:#}");
            }
        }
    }
}

/// Panics unless `body` is a valid `name` of the document.
pub fn check_schema(name: &str, body: &Value) {
    let schema = &document()["components"]["schemas"][name];
    assert!(schema.is_object(), "{name} is no schema of the document");
    if let Err(problem) = matches(schema, body, "") {
        panic!("{name}: {problem}\n{body:#}");
    }
}

fn matches(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        let target = &document()["components"]["schemas"][name];
        assert!(target.is_object(), "{reference} leads nowhere");
        return matches(target, value, at);
    }
    if value.is_null() && schema["nullable"] == true {
        return Ok(());
    }
    for (word, wanted) in schema.as_object().expect("a schema is an object") {
        let holds = match word.as_str() {
            "type" => has_type(value, wanted.as_str().expect("one type")),
            "enum" => wanted.as_array().expect("a list").contains(value),
            "format" => has_format(value, wanted.as_str().expect("text")),
            "minLength" => length(value).is_none_or(|length| length >= wanted.as_u64().expect("a number")),
            "maxLength" => length(value).is_none_or(|length| length <= wanted.as_u64().expect("a number")),
            "required" => {
                let mut names = wanted.as_array().expect("a list").iter().filter_map(Value::as_str);
                let missing = names.find(|name| value.get(name).is_none());
                match missing {
                    Some(name) => return Err(format!("{at}: `{name}` is missing")),
                    None => true,
                }
            }
            "properties" => {
                for (name, schema) in wanted.as_object().expect("an object") {
                    if let Some(value) = value.get(name) {
                        matches(schema, value, &format!("{at}/{name}"))?;
                    }
                }
                true
            }
            "items" => {
                for (number, item) in value.as_array().into_iter().flatten().enumerate() {
                    matches(wanted, item, &format!("{at}/{number}"))?;
                }
                true
            }
            // The one use of oneOf lists two activity schemas without required fields: Alpaca's own answers fit
            // both, so it is read as anyOf.
            "anyOf" | "oneOf" => {
                wanted.as_array().expect("a list").iter().any(|schema| matches(schema, value, at).is_ok())
            }
            "nullable" | "x-examples" => true,
            other => panic!("the document uses `{other}`, which is not checked"),
        };
        if !holds {
            return Err(format!("{at}: {value} does not fit {word} {wanted}"));
        }
    }
    Ok(())
}

fn length(value: &Value) -> Option<u64> {
    value.as_str().map(|text| text.chars().count() as u64)
}

fn has_type(value: &Value, wanted: &str) -> bool {
    match wanted {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the document uses the type `{other}`, which is not checked"),
    }
}

fn has_format(value: &Value, wanted: &str) -> bool {
    let Some(text) = value.as_str() else { return true };
    match wanted {
        "date-time" => text.parse::<jiff::Timestamp>().is_ok(),
        "date" => text.parse::<jiff::civil::Date>().is_ok(),
        "decimal" => text.parse::<f64>().is_ok_and(f64::is_finite),
        "uuid" => {
            let parts: Vec<&str> = text.split('-').collect();
            let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
            lengths == [8, 4, 4, 4, 12] && parts.concat().bytes().all(|byte| byte.is_ascii_hexdigit())
        }
        other => panic!("the document uses the format `{other}`, which is not checked"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_validator_finds_faults() {
        let clock = |change: Value| {
            let mut body = json!({
                "timestamp": "2026-11-20T09:30:00-05:00", "is_open": true,
                "next_open": "2026-11-23T09:30:00-05:00", "next_close": "2026-11-20T16:00:00-05:00",
            });
            for (name, value) in change.as_object().expect("an object") {
                body[name] = value.clone();
            }
            matches(&document()["components"]["schemas"]["legacy_clock"], &body, "").err()
        };
        assert_eq!(clock(json!({})), None);
        assert!(clock(json!({"is_open": "yes"})).expect("a fault").contains("/is_open"));
        assert!(clock(json!({"next_open": "Monday"})).expect("a fault").contains("date-time"));
        assert!(clock(json!({"next_open": null})).is_some());
        let order = matches(&document()["components"]["schemas"]["Order"], &json!({"type": "market"}), "");
        assert!(order.expect_err("incomplete").contains("is missing"));
    }
}
