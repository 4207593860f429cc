//! The price cache, spoken to by the `redis` crate and by `redis-cli`.

use redis::AsyncCommands;
use redis::aio::ConnectionManager;
use std::collections::BTreeMap;
use std::time::Duration;
use tradewatch_platforms::cache::{self, Config};
use tradewatch_platforms::runtime::{Clock, Net, Shutdown, Trigger};

async fn start(config: Config) -> (String, Trigger, tokio::task::JoinHandle<()>) {
    let config = Config { listen: "127.0.0.1:0".to_owned(), ..config };
    let bound = cache::bind(config, Clock::wall(), &Net::Tcp).await.expect("a free port");
    let addr = bound.addr();
    let (trigger, shutdown) = Shutdown::new();
    (addr, trigger, tokio::spawn(bound.run(shutdown)))
}

async fn connect(addr: &str, options: &str) -> ConnectionManager {
    let client = redis::Client::open(format!("redis://{addr}/{options}")).expect("a URL");
    ConnectionManager::new(client).await.expect("connects")
}

#[tokio::test]
async fn the_redis_crate_works_in_both_protocol_versions() {
    let (addr, _trigger, _server) = start(Config::default()).await;
    for options in ["", "?protocol=resp3"] {
        let mut cache = connect(&addr, options).await;
        let _: () = cache.flushall().await.expect("flushed");
        let _: () = cache.set_ex("price:AAPL", 230.5, 60).await.expect("set");
        assert_eq!(cache.get::<_, Option<f64>>("price:AAPL").await.expect("get"), Some(230.5));
        assert_eq!(cache.get::<_, Option<f64>>("price:GME").await.expect("get"), None);
        assert_eq!(cache.ttl::<_, i64>("price:AAPL").await.expect("ttl"), 60);
        let _: () = cache.set("price:MSFT", 425.25).await.expect("set");
        let prices: Vec<Option<f64>> =
            cache.mget(&["price:AAPL", "price:GME", "price:MSFT"]).await.expect("mget");
        assert_eq!(prices, [Some(230.5), None, Some(425.25)]);
        let fields = [("bid", "229.98"), ("ask", "230.00")];
        let _: () = cache.hset_multiple("quote:AAPL", &fields).await.expect("hset");
        let quote: BTreeMap<String, f64> = cache.hgetall("quote:AAPL").await.expect("hgetall");
        assert_eq!(quote, BTreeMap::from([("bid".to_owned(), 229.98), ("ask".to_owned(), 230.0)]));
        let (one, two): (i64, i64) = redis::pipe()
            .atomic()
            .incr("n", 1)
            .incr("n", 1)
            .query_async(&mut cache)
            .await
            .expect("a transaction");
        assert_eq!((one, two), (1, 2));
        let mut keys: Vec<String> = cache.keys("price:*").await.expect("keys");
        keys.sort();
        assert_eq!(keys, ["price:AAPL", "price:MSFT"]);
        for n in 0..100 {
            let _: () = cache.set(format!("many:{n:03}"), n).await.expect("set");
        }
        assert_eq!(scan(&mut cache, "many:*").await.len(), 100);
        assert_eq!(cache.del::<_, i64>(&["price:AAPL", "price:MSFT", "x"]).await.expect("del"), 2);
        let wrong = cache.get::<_, Option<String>>("quote:AAPL").await.expect_err("a hash");
        assert!(wrong.to_string().contains("WRONGTYPE"), "{wrong}");
    }
}

async fn scan(cache: &mut ConnectionManager, pattern: &str) -> Vec<String> {
    let mut scan = cache.scan_match::<_, String>(pattern).await.expect("scan");
    let mut found = Vec::new();
    while let Some(key) = scan.next_item().await {
        found.push(key.expect("a key"));
    }
    found
}

#[tokio::test]
async fn keys_expire_in_real_time() {
    let (addr, _trigger, _server) = start(Config::default()).await;
    let mut cache = connect(&addr, "").await;
    let _: () = cache.pset_ex("soon", 1, 30).await.expect("set");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while cache.exists::<_, bool>("soon").await.expect("exists") {
        assert!(tokio::time::Instant::now() < deadline, "expired within 10 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn memory_is_bounded_and_says_so() {
    let (addr, _trigger, _server) = start(Config { memory_bytes_max: 10_000, ..Config::default() }).await;
    let mut cache = connect(&addr, "").await;
    let mut refused = None;
    for n in 0..1000 {
        if let Err(error) = cache.set::<_, _, ()>(format!("k{n}"), "x".repeat(100)).await {
            refused = Some(error.to_string());
            break;
        }
    }
    assert!(refused.expect("1000 × 100 bytes do not fit in 10000").contains("OOM"));
    assert!(cache.get::<_, Option<String>>("k0").await.expect("get").is_some(), "reading goes on");
}

#[tokio::test]
async fn passwords_are_asked_for() {
    let (addr, _trigger, _server) =
        start(Config { password: Some("s3cret".into()), ..Config::default() }).await;
    let client = redis::Client::open(format!("redis://{addr}/")).expect("a URL");
    let mut without = client.get_multiplexed_async_connection().await.expect("connects");
    let refused = without.get::<_, Option<String>>("a").await.expect_err("no password");
    assert!(refused.to_string().contains("NOAUTH"), "{refused}");
    assert!(
        redis::Client::open(format!("redis://:wrong@{addr}/"))
            .expect("a URL")
            .get_multiplexed_async_connection()
            .await
            .is_err()
    );
    let right = redis::Client::open(format!("redis://:s3cret@{addr}/")).expect("a URL");
    let mut right = right.get_multiplexed_async_connection().await.expect("connects");
    assert_eq!(right.get::<_, Option<String>>("a").await.expect("get"), None);
}

#[tokio::test]
async fn subscribers_get_what_is_published() {
    use futures_util::StreamExt;
    let (addr, _trigger, _server) = start(Config::default()).await;
    let client = redis::Client::open(format!("redis://{addr}/")).expect("a URL");
    let mut subscriber = client.get_async_pubsub().await.expect("connects");
    subscriber.subscribe("signals").await.expect("subscribed");
    let mut cache = connect(&addr, "").await;
    assert_eq!(cache.publish::<_, _, i64>("signals", "buy AAPL").await.expect("published"), 1);
    let message = tokio::time::timeout(Duration::from_secs(5), subscriber.on_message().next()).await;
    let message = message.expect("in time").expect("a message");
    assert_eq!(
        (message.get_channel_name(), message.get_payload::<String>().expect("text")),
        ("signals", "buy AAPL".to_owned())
    );
    subscriber.unsubscribe("signals").await.expect("unsubscribed");
    assert_eq!(cache.publish::<_, _, i64>("signals", "sell").await.expect("published"), 0);
}

#[tokio::test]
async fn the_end_of_the_cache_ends_its_connections() {
    let (addr, _trigger, server) = start(Config::default()).await;
    let client = redis::Client::open(format!("redis://{addr}/")).expect("a URL");
    let mut connection = client.get_multiplexed_async_connection().await.expect("connects");
    let _: () = connection.set("a", 1).await.expect("set");
    server.abort();
    let _ = server.await;
    let lost = tokio::time::timeout(Duration::from_secs(5), connection.get::<_, Option<i64>>("a")).await;
    assert!(lost.expect("in time").is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_cli_works() {
    let (addr, _trigger, _server) = start(Config::default()).await;
    let port = addr.rsplit(':').next().expect("a port").to_owned();
    let cli = |args: &'static [&'static str]| {
        let port = port.clone();
        async move {
            let output =
                tokio::process::Command::new("redis-cli").args(["-p", &port]).args(args).output().await;
            output.map(|output| {
                let both = [output.stdout, output.stderr].concat();
                String::from_utf8_lossy(&both).trim().to_owned()
            })
        }
    };
    if cli(&["--version"]).await.is_err() {
        eprintln!("redis-cli is not installed (apt-get install redis-tools): nothing tried");
        return;
    }
    assert_eq!(cli(&["ping"]).await.expect("runs"), "PONG");
    assert_eq!(cli(&["set", "price:AAPL", "230.5", "ex", "60"]).await.expect("runs"), "OK");
    assert_eq!(cli(&["get", "price:AAPL"]).await.expect("runs"), "230.5");
    assert_eq!(cli(&["ttl", "price:AAPL"]).await.expect("runs"), "60");
    assert_eq!(cli(&["-3", "hset", "quote:AAPL", "bid", "1", "ask", "2"]).await.expect("runs"), "2");
    assert_eq!(cli(&["-3", "hgetall", "quote:AAPL"]).await.expect("runs"), "ask 2\nbid 1");
    assert_eq!(cli(&["--scan", "--pattern", "price:*"]).await.expect("runs"), "price:AAPL");
    assert!(cli(&["info"]).await.expect("runs").contains("db0:keys=2"));
    assert!(cli(&["nonsense"]).await.expect("runs").contains("unknown command 'nonsense'"));
}
