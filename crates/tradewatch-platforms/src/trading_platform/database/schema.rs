//! Tables, the same for both databases.
//!
//! Money and quantities are integers in billionths, times are nanoseconds since the epoch, in UTC.

/// Creates what is missing. Carried out with each new connection.
pub const SCHEMA: [&str; 8] = [
    "CREATE TABLE IF NOT EXISTS heartbeats (service TEXT PRIMARY KEY, at BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS orders (
        client_order_id TEXT PRIMARY KEY, broker_order_id TEXT NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL,
        qty BIGINT NOT NULL, limit_price BIGINT NOT NULL, strategy TEXT NOT NULL, reference TEXT NOT NULL,
        state TEXT NOT NULL, filled_qty BIGINT NOT NULL, filled_cost BIGINT NOT NULL, reason TEXT NOT NULL,
        created_at BIGINT NOT NULL, acknowledged_at BIGINT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS orders_by_state ON orders (state)",
    "CREATE TABLE IF NOT EXISTS fills (
        seq BIGINT PRIMARY KEY, client_order_id TEXT NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL,
        qty BIGINT NOT NULL, price BIGINT NOT NULL, at BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS runs (
        run_id TEXT PRIMARY KEY, status TEXT NOT NULL, started_at BIGINT NOT NULL, ended_at BIGINT NOT NULL,
        signals BIGINT NOT NULL, accepted BIGINT NOT NULL, rejected BIGINT NOT NULL, detail TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS signals (
        at BIGINT NOT NULL, symbol TEXT NOT NULL, model TEXT NOT NULL, predicted BIGINT NOT NULL,
        weight BIGINT NOT NULL, price BIGINT NOT NULL, PRIMARY KEY (at, symbol))",
    "CREATE TABLE IF NOT EXISTS models (
        checksum TEXT PRIMARY KEY, strategy TEXT NOT NULL, version BIGINT NOT NULL, activated_at BIGINT NOT NULL)",
];

/// Writes one row per service, for ever the same.
pub const HEARTBEAT: &str = "INSERT INTO heartbeats (service, at) VALUES ($1, $2) ON CONFLICT (service) DO UPDATE SET at = excluded.at";
