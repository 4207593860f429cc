//! The semantic conventions' own names for what their vocabulary exposes.

/// A metric of the semantic conventions.
#[derive(Clone, Copy)]
pub(super) struct Known {
    exposed: &'static str,
    pub(super) name: &'static str,
    /// In UCUM.
    pub(super) unit: &'static str,
}

const fn known(exposed: &'static str, name: &'static str, unit: &'static str) -> Known {
    Known { exposed, name, unit }
}

const KNOWN: [Known; 12] = [
    known("http_server_request_duration_seconds", "http.server.request.duration", "s"),
    known("http_server_active_requests", "http.server.active_requests", "{request}"),
    known("http_server_request_body_size_bytes", "http.server.request.body.size", "By"),
    known("http_server_response_body_size_bytes", "http.server.response.body.size", "By"),
    known("http_client_request_duration_seconds", "http.client.request.duration", "s"),
    known("http_client_active_requests", "http.client.active_requests", "{request}"),
    known("db_client_operation_duration_seconds", "db.client.operation.duration", "s"),
    known("db_client_connection_count", "db.client.connection.count", "{connection}"),
    known("messaging_client_operation_duration_seconds", "messaging.client.operation.duration", "s"),
    known("messaging_client_sent_messages_total", "messaging.client.sent.messages", "{message}"),
    known("messaging_client_consumed_messages_total", "messaging.client.consumed.messages", "{message}"),
    known("messaging_process_duration_seconds", "messaging.process.duration", "s"),
];

/// Labels that are attributes with dots. `http_client_request_duration_seconds` is exposed by the documents' vocabulary
/// as well; its labels have no dots there and stay as they are.
const ATTRIBUTES: [(&str, &str); 15] = [
    ("http_request_method", "http.request.method"),
    ("http_response_status_code", "http.response.status_code"),
    ("http_route", "http.route"),
    ("server_address", "server.address"),
    ("server_port", "server.port"),
    ("error_type", "error.type"),
    ("db_system_name", "db.system.name"),
    ("db_namespace", "db.namespace"),
    ("db_operation_name", "db.operation.name"),
    ("db_client_connection_pool_name", "db.client.connection.pool.name"),
    ("db_client_connection_state", "db.client.connection.state"),
    ("messaging_system", "messaging.system"),
    ("messaging_destination_name", "messaging.destination.name"),
    ("messaging_operation_name", "messaging.operation.name"),
    ("messaging_consumer_group_name", "messaging.consumer.group.name"),
];

pub(super) fn of(exposed: &str) -> Option<Known> {
    KNOWN.into_iter().find(|known| known.exposed == exposed)
}

pub(super) fn attribute(label: &str) -> &str {
    ATTRIBUTES.into_iter().find(|(exposed, _)| *exposed == label).map_or(label, |(_, name)| name)
}

/// A unit as UCUM writes it. What is counted (`orders`) is an annotation there, and no suffix of a name.
pub(super) fn unit(unit: &str) -> &str {
    match unit {
        "seconds" => "s",
        "bytes" => "By",
        "ratio" | "bool" => "1",
        "meters" => "m",
        "celsius" => "Cel",
        "percent" => "%",
        "usd" => "USD",
        _ => "",
    }
}
