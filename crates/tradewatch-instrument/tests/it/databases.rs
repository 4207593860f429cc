//! Databases and caches, real ones: what succeeds, fails, comes late or is given up moves the errors and the duration.

use std::time::Duration;

use expect_test::expect;
use tokio_postgres::NoTls;
use tradewatch_instrument::postgres::Client;
use tradewatch_instrument::redis::Measured;
use tradewatch_instrument::{Clients, System, Vocabulary, sqlite};
use tradewatch_metrics::Registry;

use crate::servers;
use crate::world::{moved_with_prefix, value};

const MINUTE: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(50);

fn clients(vocabulary: Vocabulary) -> (Registry, Clients) {
    let registry = Registry::new();
    let clients = Clients::register(&registry, vocabulary).expect("the names are free");
    (registry, clients)
}

#[tokio::test]
async fn postgresql() {
    let mut server = servers::postgres();
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(server.port).user("postgres");
    for vocabulary in [Vocabulary::Prometheus, Vocabulary::OpenTelemetry] {
        let (registry, clients) = clients(vocabulary);
        let database = clients.database("order_executor", System::Postgresql, "mastertrade");
        let mut client = Client::connect(&config, NoTls, &database, MINUTE).await.expect("it listens");
        client
            .batch_execute("DROP TABLE IF EXISTS orders; CREATE TABLE orders (id int PRIMARY KEY)")
            .await
            .expect("made");
        let insert = client.prepare("INSERT INTO orders VALUES ($1)").await.expect("prepared");
        assert_eq!(client.execute(&insert, &[&1]).await.expect("inserted"), 1);
        client.execute(&insert, &[&1]).await.expect_err("it is there already");
        client.query("SELECT nothing FROM orders", &[]).await.expect_err("no such column");
        assert!(
            client.query_opt("SELECT id FROM orders WHERE id = 2", &[]).await.expect("answered").is_none()
        );
        let total: i64 = client.query_one("SELECT count(*) FROM orders", &[]).await.expect("answered").get(0);
        assert_eq!(total, 1);
        let aborted = client.transaction(async |client| {
            client.execute(&insert, &[&2]).await?;
            client.execute(&insert, &[&1]).await
        });
        aborted.await.expect_err("the second is there already");
        // Given up within a transaction: it is rolled back all the same.
        let given_up = client.transaction(async |client| {
            client.execute(&insert, &[&3]).await?;
            client.query("SELECT pg_sleep(2)", &[]).await
        });
        assert!(tokio::time::timeout(SHORT * 4, given_up).await.is_err());
        let other = Client::connect(&config, NoTls, &database, MINUTE).await.expect("it listens");
        let limited =
            tokio_postgres::connect(&connection_string(server.port), NoTls).await.expect("it listens");
        tokio::spawn(limited.1);
        let limited = Client::new(limited.0, &database, SHORT);
        assert!(limited.query("SELECT pg_sleep(2)", &[]).await.expect_err("late").is_timeout());
        let count: i64 = other.query_one("SELECT count(*) FROM orders", &[]).await.expect("answered").get(0);
        assert_eq!(count, 1, "what was rolled back is not there");
        let panicking = tokio::spawn({
            let database = database.clone();
            async move { database.query("update").run(async { panic!("on purpose") as Result<(), String> }).await }
        });
        assert!(panicking.await.is_err());
        let expected = match vocabulary {
            Vocabulary::Prometheus => expect![[r#"
                db_connections_total{service_name="order_executor",database="mastertrade"} 2
                db_query_duration_seconds_count{service_name="order_executor",query_type="begin"} 2
                db_query_duration_seconds_count{service_name="order_executor",query_type="connect"} 2
                db_query_duration_seconds_count{service_name="order_executor",query_type="drop"} 1
                db_query_duration_seconds_count{service_name="order_executor",query_type="insert"} 5
                db_query_duration_seconds_count{service_name="order_executor",query_type="prepare"} 1
                db_query_duration_seconds_count{service_name="order_executor",query_type="rollback"} 1
                db_query_duration_seconds_count{service_name="order_executor",query_type="select"} 6
                db_query_duration_seconds_count{service_name="order_executor",query_type="update"} 1
                db_query_errors_total{service_name="order_executor",error_type="cancelled"} 1
                db_query_errors_total{service_name="order_executor",error_type="panic"} 1
                db_query_errors_total{service_name="order_executor",error_type="timeout"} 1
                db_query_errors_total{service_name="order_executor",error_type="undefined_column"} 1
                db_query_errors_total{service_name="order_executor",error_type="unique_violation"} 2
            "#]],
            Vocabulary::OpenTelemetry => expect![[r#"
                db_client_connection_count{db_client_connection_pool_name="mastertrade",db_client_connection_state="used"} 2
                db_client_operation_duration_seconds_count{db_system_name="postgresql",db_namespace="mastertrade",db_operation_name="begin"} 2
                db_client_operation_duration_seconds_count{db_system_name="postgresql",db_namespace="mastertrade",db_operation_name="connect"} 2
                db_client_operation_duration_seconds_count{db_system_name="postgresql",db_namespace="mastertrade",db_operation_name="drop"} 1
                db_client_operation_duration_seconds_count{db_system_name="postgresql",db_namespace="mastertrade",db_operation_name="insert",error_type="unique_violation"} 2
                db_client_operation_duration_seconds_count{db_system_name="postgresql",db_namespace="mastertrade",db_operation_name="insert"} 3
                db_client_operation_duration_seconds_count{db_system_name="postgresql",db_namespace="mastertrade",db_operation_name="prepare"} 1
                db_client_operation_duration_seconds_count{db_system_name="postgresql",db_namespace="mastertrade",db_operation_name="rollback"} 1
                db_client_operation_duration_seconds_count{db_system_name="postgresql",db_namespace="mastertrade",db_operation_name="select",error_type="cancelled"} 1
                db_client_operation_duration_seconds_count{db_system_name="postgresql",db_namespace="mastertrade",db_operation_name="select",error_type="timeout"} 1
                db_client_operation_duration_seconds_count{db_system_name="postgresql",db_namespace="mastertrade",db_operation_name="select",error_type="undefined_column"} 1
                db_client_operation_duration_seconds_count{db_system_name="postgresql",db_namespace="mastertrade",db_operation_name="select"} 3
                db_client_operation_duration_seconds_count{db_system_name="postgresql",db_namespace="mastertrade",db_operation_name="update",error_type="panic"} 1
            "#]],
        };
        expected.assert_eq(&moved_with_prefix(&registry, "db_"));
        if vocabulary == Vocabulary::Prometheus {
            let late = "db_query_duration_seconds_sum{service_name=\"order_executor\",query_type=\"select\"}";
            assert!(value(&registry, late) >= 5.0 * SHORT.as_secs_f64(), "what is late or given up is timed");
        }
    }
    let (registry, clients) = clients(Vocabulary::Prometheus);
    let database = clients.database("order_executor", System::Postgresql, "mastertrade");
    let client = Client::connect(&config, NoTls, &database, MINUTE).await.expect("it listens");
    server.kill();
    client.query("SELECT 1", &[]).await.expect_err("it is gone");
    let again = Client::connect(&config, NoTls, &database, MINUTE).await;
    assert!(again.is_err());
    let open = "db_connections_total{service_name=\"order_executor\",database=\"mastertrade\"}";
    crate::world::until("the connection is no more", || value(&registry, open) == 0.0).await;
    let errors = moved_with_prefix(&registry, "db_query_errors_total");
    // The backend that outlives its server by a moment may still say why it goes.
    let told = ["connection", "operator_intervention"].map(|kind| format!("error_type=\"{kind}\"}} 1"));
    assert!(told.iter().any(|told| errors.contains(told)), "{errors}");
    assert!(errors.contains("error_type=\"connection_refused\"} 1"), "{errors}");
}

fn connection_string(port: u16) -> String {
    format!("host=127.0.0.1 port={port} user=postgres")
}

#[test]
fn sqlite_in_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    let (registry, clients) = clients(Vocabulary::Prometheus);
    let database = clients.database("gateway", System::Sqlite, "ledger");
    let open = || {
        let inner = rusqlite::Connection::open(&path).expect("writable");
        inner.busy_timeout(SHORT).expect("a setting");
        sqlite::Connection::new(inner, &database)
    };
    let (mut a, b) = (open(), open());
    a.execute_batch("CREATE TABLE t (x INTEGER PRIMARY KEY) STRICT").expect("made");
    assert_eq!(a.execute("INSERT INTO t VALUES (?1)", [1]).expect("inserted"), 1);
    a.execute("INSERT INTO t VALUES (?1)", [1]).expect_err("it is there already");
    a.query("SELECT y FROM t", [], |row| row.get::<_, i64>(0)).expect_err("no such column");
    assert_eq!(a.query("SELECT x FROM t", [], |row| row.get::<_, i64>(0)).expect("read"), [1]);
    assert_eq!(
        a.query_row("SELECT x FROM t WHERE x = 2", [], |row| row.get::<_, i64>(0)).expect("read"),
        None
    );
    let locked = a.transaction(|a| {
        a.execute("INSERT INTO t VALUES (2)", [])?;
        b.execute("INSERT INTO t VALUES (3)", []).expect_err("another writes");
        Err::<(), _>(rusqlite::Error::InvalidQuery)
    });
    assert!(locked.is_err());
    assert_eq!(b.query("SELECT x FROM t", [], |row| row.get::<_, i64>(0)).expect("read"), [1], "rolled back");
    expect![[r#"
        db_connections_total{service_name="gateway",database="ledger"} 2
        db_query_duration_seconds_count{service_name="gateway",query_type="begin"} 1
        db_query_duration_seconds_count{service_name="gateway",query_type="create"} 1
        db_query_duration_seconds_count{service_name="gateway",query_type="insert"} 4
        db_query_duration_seconds_count{service_name="gateway",query_type="rollback"} 1
        db_query_duration_seconds_count{service_name="gateway",query_type="select"} 4
        db_query_errors_total{service_name="gateway",error_type="busy"} 1
        db_query_errors_total{service_name="gateway",error_type="client"} 1
        db_query_errors_total{service_name="gateway",error_type="constraint_violation"} 1
    "#]]
    .assert_eq(&moved_with_prefix(&registry, "db_"));
    drop((a, b));
    assert_eq!(value(&registry, "db_connections_total{service_name=\"gateway\",database=\"ledger\"}"), 0.0);
}

#[tokio::test]
async fn redis() {
    use redis::AsyncTypedCommands;
    let mut server = servers::redis();
    let client = redis::Client::open(format!("redis://127.0.0.1:{}", server.port)).expect("an address");
    for vocabulary in [Vocabulary::Prometheus, Vocabulary::OpenTelemetry] {
        let (registry, clients) = clients(vocabulary);
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(SHORT * 4));
        let plain = client.get_multiplexed_async_connection_with_config(&config).await.expect("it listens");
        let mut redis = Measured::new(plain, clients.cache("signal_service"));
        redis.del(&["price:AAPL", "list"]).await.expect("answered");
        assert_eq!(redis.get("price:AAPL").await.expect("answered"), None);
        redis.set("price:AAPL", "1.5").await.expect("answered");
        assert_eq!(redis.get("price:AAPL").await.expect("answered").as_deref(), Some("1.5"));
        redis.mget(&["price:AAPL", "volume:AAPL"]).await.expect("answered");
        redis.lpush("list", "x").await.expect("answered");
        redis.get("list").await.expect_err("a list is no string");
        // A command that waits holds up its connection, so each of the two has one of its own.
        let plain = client.get_multiplexed_async_connection_with_config(&config).await.expect("it listens");
        let mut hasty = Measured::new(plain, clients.cache("signal_service"));
        let late = hasty.blpop("nothing", 60.0).await.expect_err("nothing comes in time");
        assert!(late.is_timeout(), "{late}");
        let plain = client.get_multiplexed_async_connection().await.expect("it listens");
        let mut patient = Measured::new(plain, clients.cache("signal_service"));
        assert!(tokio::time::timeout(SHORT, patient.brpop("nothing", 60.0)).await.is_err());
        let mut pipe = redis::pipe();
        pipe.set("a", 1).get("a");
        let _: ((), i64) = pipe.query_async(&mut redis).await.expect("answered");
        let mut pipe = redis::pipe();
        pipe.set("a", 1).get("list");
        pipe.query_async::<((), i64)>(&mut redis).await.expect_err("a list is no string");
        if vocabulary == Vocabulary::OpenTelemetry {
            server.kill();
            let gone = redis.get("price:AAPL").await.expect_err("it is gone");
            assert!(gone.is_io_error() || gone.is_connection_dropped(), "{gone}");
        }
        let expected = match vocabulary {
            Vocabulary::Prometheus => expect![[r#"
                redis_cache_hits_total{service_name="signal_service",cache_key="price"} 2
                redis_cache_misses_total{service_name="signal_service",cache_key="price"} 1
                redis_cache_misses_total{service_name="signal_service",cache_key="volume"} 1
                redis_operation_errors_total{service_name="signal_service",operation="blpop",error_type="timeout"} 1
                redis_operation_errors_total{service_name="signal_service",operation="brpop",error_type="cancelled"} 1
                redis_operation_errors_total{service_name="signal_service",operation="get",error_type="wrong_type"} 1
                redis_operation_errors_total{service_name="signal_service",operation="pipeline",error_type="wrong_type"} 1
                redis_operations_duration_seconds_count{service_name="signal_service",operation="blpop"} 1
                redis_operations_duration_seconds_count{service_name="signal_service",operation="brpop"} 1
                redis_operations_duration_seconds_count{service_name="signal_service",operation="del"} 1
                redis_operations_duration_seconds_count{service_name="signal_service",operation="get"} 3
                redis_operations_duration_seconds_count{service_name="signal_service",operation="lpush"} 1
                redis_operations_duration_seconds_count{service_name="signal_service",operation="mget"} 1
                redis_operations_duration_seconds_count{service_name="signal_service",operation="pipeline"} 2
                redis_operations_duration_seconds_count{service_name="signal_service",operation="set"} 1
            "#]],
            Vocabulary::OpenTelemetry => expect![[r#"
                redis_cache_hits_total{service_name="signal_service",cache_key="price"} 2
                redis_cache_misses_total{service_name="signal_service",cache_key="price"} 1
                redis_cache_misses_total{service_name="signal_service",cache_key="volume"} 1
                db_client_operation_duration_seconds_count{db_system_name="redis",db_operation_name="blpop",error_type="timeout"} 1
                db_client_operation_duration_seconds_count{db_system_name="redis",db_operation_name="brpop",error_type="cancelled"} 1
                db_client_operation_duration_seconds_count{db_system_name="redis",db_operation_name="del"} 1
                db_client_operation_duration_seconds_count{db_system_name="redis",db_operation_name="get",error_type="connection"} 1
                db_client_operation_duration_seconds_count{db_system_name="redis",db_operation_name="get",error_type="wrong_type"} 1
                db_client_operation_duration_seconds_count{db_system_name="redis",db_operation_name="get"} 2
                db_client_operation_duration_seconds_count{db_system_name="redis",db_operation_name="lpush"} 1
                db_client_operation_duration_seconds_count{db_system_name="redis",db_operation_name="mget"} 1
                db_client_operation_duration_seconds_count{db_system_name="redis",db_operation_name="pipeline",error_type="wrong_type"} 1
                db_client_operation_duration_seconds_count{db_system_name="redis",db_operation_name="pipeline"} 1
                db_client_operation_duration_seconds_count{db_system_name="redis",db_operation_name="set"} 1
            "#]],
        };
        let text = moved_with_prefix(&registry, "redis_") + &moved_with_prefix(&registry, "db_");
        expected.assert_eq(&text);
    }
}
