//! The paper broker over REST and its stream.

use crate::world::{START, World, calm};
use serde_json::{Value, json};
use std::time::Duration;
use tradewatch_platforms::broker::{Behaviour, Config};
use tradewatch_platforms::market::Decimal;
use tradewatch_platforms::runtime::{run_virtual, ws};

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is text"))
}

fn number(value: &Value) -> f64 {
    text(value).parse().expect("a number")
}

#[test]
fn a_market_order_takes_the_opposite_quote() {
    run_virtual(async {
        let world = World::start(600, calm()).await;
        let trader = world.trader();
        let mut stream = world.stream().await;
        let (status, order) = trader.order("AAPL", "3", json!({"client_order_id": "mine-1"})).await;
        assert_eq!(
            (status, &order["status"], &order["filled_qty"]),
            (200, &json!("pending_new"), &json!("0"))
        );
        let (updates, _) = stream.updates(5.0).await;
        let events: Vec<&str> = updates.iter().map(|update| text(&update["event"])).collect();
        assert_eq!(events[..2], ["pending_new", "new"]);
        assert_eq!(*events.last().expect("events"), "fill");
        let last = updates.last().expect("updates");
        assert_eq!((&last["order"]["status"], &last["position_qty"]), (&json!("filled"), &json!("3")));
        let order = trader.order_state(text(&order["id"])).await;
        assert_eq!(order["filled_qty"], "3");
        let same = trader.get("/v2/orders:by_client_order_id?client_order_id=mine-1").await;
        assert_eq!(same["id"], order["id"]);
        let positions = trader.get("/v2/positions").await;
        assert_eq!((&positions[0]["symbol"], &positions[0]["qty"]), (&json!("AAPL"), &json!("3")));
        assert_eq!(positions[0]["avg_entry_price"], order["filled_avg_price"]);
        let account = trader.get("/v2/account").await;
        let spent = 100_000.0 - number(&account["cash"]);
        assert!((spent - 3.0 * number(&order["filled_avg_price"])).abs() < 0.006, "{spent}");
        let again = trader.order("AAPL", "3", json!({"client_order_id": "mine-1"})).await;
        assert_eq!((again.0, &again.1["code"]), (422, &json!(40_010_001)));
    });
}

#[test]
fn a_large_order_is_filled_in_parts() {
    run_virtual(async {
        let world = World::start(600, calm()).await;
        let trader = world.trader();
        let mut stream = world.stream().await;
        let (_, order) = trader.order("GOOGL", "1000", json!({})).await;
        let (updates, _) = stream.updates(20.0).await;
        let fills: Vec<&Value> = updates.iter().filter(|update| update.get("price").is_some()).collect();
        assert!(
            fills.len() > 1 && fills.iter().all(|fill| fill["order"]["id"] == order["id"]),
            "{}",
            fills.len()
        );
        assert_eq!(fills[0]["event"], "partial_fill");
        assert_eq!(fills[0]["order"]["status"], "partially_filled");
        let sum: f64 = fills.iter().map(|fill| number(&fill["qty"])).sum();
        assert_eq!(sum, 1000.0);
        let activities = trader.get("/v2/account/activities?activity_types=FILL&direction=asc").await;
        let of = |value: &Value| number(&value["qty"]);
        assert_eq!(activities.as_array().expect("a list").iter().map(of).sum::<f64>(), 1000.0);
        let template = "/v2/account/activities/{activity_type}";
        let (_, fills) =
            trader.call("get", "/v2/account/activities/FILL?direction=asc", template, None).await;
        assert_eq!(fills, activities);
        let token = text(&activities[0]["id"]);
        let path = format!("/v2/account/activities?direction=asc&page_size=1&page_token={token}");
        assert_eq!(trader.get(&path).await[0], activities[1]);
    });
}

#[test]
fn limit_orders_rest_until_crossed_and_stops_until_reached() {
    run_virtual(async {
        let world = World::start(3600, calm()).await;
        let trader = world.trader();
        let (_, bought) = trader.order("MSFT", "1", json!({})).await;
        world.sleep(2.0).await;
        let price = number(&trader.order_state(text(&bought["id"])).await["filled_avg_price"]);
        let near = format!("{:.2}", price - 0.10);
        let far = format!("{:.2}", price - 100.0);
        let above = format!("{:.2}", price + 0.10);
        let limit = |price: &str| json!({"type": "limit", "limit_price": price, "time_in_force": "gtc"});
        let resting = trader.order("MSFT", "1", limit(&near)).await.1;
        let hopeless = trader.order("MSFT", "1", limit(&far)).await.1;
        let stop = json!({"type": "stop", "stop_price": above, "time_in_force": "gtc"});
        let stop = trader.order("MSFT", "1", stop).await.1;
        let mut filled = 0;
        for _ in 0..1000 {
            world.sleep(1.0).await;
            let state = trader.order_state(text(&resting["id"])).await;
            if state["status"] == "filled" {
                filled += 1;
                assert!(number(&state["filled_avg_price"]) <= price - 0.10 + 1e-9, "at the limit or better");
            }
            let state = trader.order_state(text(&stop["id"])).await;
            if state["status"] == "filled" {
                filled += 1;
                assert!(number(&state["filled_avg_price"]) >= price + 0.10 - 1e-9, "not before the stop");
            }
            if filled > 0 {
                break;
            }
        }
        assert!(filled > 0, "in 1000 s the price moved 10 cents");
        assert_eq!(trader.order_state(text(&hopeless["id"])).await["status"], "new");
        let open = trader.get("/v2/orders?status=open&symbols=MSFT&side=buy").await;
        assert!(open.as_array().expect("a list").iter().any(|order| order["id"] == hopeless["id"]));
        let path = format!("/v2/orders/{}", text(&hopeless["id"]));
        assert_eq!(trader.call("delete", &path, "/v2/orders/{order_id}", None).await.0, 204);
        assert_eq!(trader.order_state(text(&hopeless["id"])).await["status"], "canceled");
        let (status, refusal) = trader.call("delete", &path, "/v2/orders/{order_id}", None).await;
        assert_eq!((status, text(&refusal["message"])), (422, "order is already in \"canceled\" state"));
    });
}

#[test]
fn immediate_orders_do_not_rest() {
    run_virtual(async {
        let rich = Config { cash: Decimal::from_int(10_000_000), ..calm() };
        let world = World::start(600, rich).await;
        let trader = world.trader();
        let immediate = |tif: &str| json!({"time_in_force": tif});
        let ioc = trader.order("TSLA", "700", immediate("ioc")).await.1;
        let fok = trader.order("TSLA", "799", immediate("fok")).await.1;
        world.sleep(5.0).await;
        let ioc = trader.order_state(text(&ioc["id"])).await;
        assert_eq!(ioc["status"], "canceled");
        assert!(number(&ioc["filled_qty"]) > 0.0 && number(&ioc["filled_qty"]) < 700.0);
        let fok = trader.order_state(text(&fok["id"])).await;
        assert_eq!((&fok["status"], &fok["filled_qty"]), (&json!("canceled"), &json!("0")));
    });
}

#[test]
fn refusals_carry_alpacas_codes() {
    run_virtual(async {
        let world = World::start(600, calm()).await;
        let trader = world.trader();
        let (status, body) = trader.order("AAPL", "100000", json!({})).await;
        assert_eq!(
            (status, &body["code"], text(&body["message"])),
            (403, &json!(40_310_000), "insufficient buying power")
        );
        let (status, body) = trader.order("BTC/USD", "-1", json!({})).await;
        assert_eq!(status, 403);
        assert_eq!(text(&body["message"]), "insufficient balance for BTC (requested: 1, available: 0)");
        assert_eq!(trader.order("BTC/USD", "1", json!({"time_in_force": "day"})).await.0, 422);
        assert_eq!(trader.order("GME", "1", json!({})).await.0, 422);
        assert_eq!(trader.order("AAPL", "1", json!({"side": "hold"})).await.0, 422);
        let (status, body) =
            trader.call("get", "/v2/positions/AAPL", "/v2/positions/{symbol_or_asset_id}", None).await;
        assert_eq!((status, &body["code"]), (404, &json!(40_410_000)));
        let (status, body) = trader.call("get", "/v2/orders?limit=many", "/v2/orders", None).await;
        assert_eq!((status, &body["code"]), (422, &json!(42_210_000)));
        let (status, _) = trader.call("get", "/v2/orders/none", "/v2/orders/{order_id}", None).await;
        assert_eq!(status, 404);
        let nobody =
            tradewatch_platforms::runtime::http::Client::new(world.net.clone(), Duration::from_secs(5));
        let answer = nobody.get(&format!("{}/v2/account", world.broker)).await.expect("answered");
        assert_eq!(answer.status, 401);
        let orders = format!("{}/v2/orders", world.broker);
        let answer = trader.client.request(axum::http::Method::POST, &orders, Some("{".into())).await;
        assert_eq!(answer.expect("answered").status, 400);
    });
}

#[test]
fn equities_keep_sessions_and_crypto_does_not() {
    run_virtual(async {
        let world = World::start(600, calm()).await;
        let trader = world.trader();
        assert_eq!(trader.get("/v2/clock").await["is_open"], true);
        world.sleep(700.0).await;
        let clock = trader.get("/v2/clock").await;
        assert_eq!(clock["is_open"], false);
        let next: jiff::Timestamp = text(&clock["next_open"]).parse().expect("a stamp");
        assert_eq!(next.as_second(), START + 1200);
        let queued = trader.order("AAPL", "1", json!({})).await.1;
        assert_eq!(queued["status"], "accepted");
        assert_eq!(trader.order("AAPL", "1", json!({"time_in_force": "ioc"})).await.0, 422);
        let coin = trader.order("BTC/USD", "0.01", json!({})).await.1;
        world.sleep(30.0).await;
        assert_eq!(trader.order_state(text(&coin["id"])).await["status"], "filled");
        assert_eq!(trader.order_state(text(&queued["id"])).await["status"], "accepted");
        world.sleep(500.0).await;
        assert_eq!(
            trader.order_state(text(&queued["id"])).await["status"],
            "filled",
            "the session has opened"
        );
        let limit = json!({"type": "limit", "limit_price": "1", "time_in_force": "day"});
        let hopeless = trader.order("AAPL", "1", limit).await.1;
        world.sleep(600.0).await;
        assert_eq!(trader.order_state(text(&hopeless["id"])).await["status"], "expired");
        let days = trader.get("/v2/calendar?start=2023-11-14&end=2023-11-14").await;
        assert!(days.as_array().expect("a list").len() > 3, "twenty-minute days");
    });
}

#[test]
fn positions_close_one_by_one_and_all_at_once() {
    run_virtual(async {
        let world = World::start(3600, calm()).await;
        let trader = world.trader();
        trader.order("AAPL", "10", json!({})).await;
        trader.order("TSLA", "-5", json!({})).await;
        trader.order("ETH/USD", "1.5", json!({})).await;
        world.sleep(60.0).await;
        let positions = trader.get("/v2/positions").await;
        let sides: Vec<&str> =
            positions.as_array().expect("a list").iter().map(|p| text(&p["side"])).collect();
        assert_eq!(sides, ["long", "long", "short"], "AAPL, ETH/USD, TSLA");
        let template = "/v2/positions/{symbol_or_asset_id}";
        let (status, order) = trader.call("delete", "/v2/positions/AAPL?percentage=50", template, None).await;
        assert_eq!((status, &order["qty"], &order["side"]), (200, &json!("5"), &json!("sell")));
        world.sleep(10.0).await;
        assert_eq!(trader.call("get", "/v2/positions/AAPL", template, None).await.1["qty"], "5");
        assert_eq!(trader.call("get", "/v2/positions/ETH%2FUSD", template, None).await.1["qty"], "1.5");
        assert_eq!(trader.call("delete", "/v2/positions/AAPL?qty=6", template, None).await.0, 403);
        let limit = json!({"type": "limit", "limit_price": "1"});
        trader.order("AAPL", "1", limit).await;
        let (status, closed) =
            trader.call("delete", "/v2/positions?cancel_orders=True", "/v2/positions", None).await;
        assert_eq!((status, closed.as_array().map(Vec::len)), (207, Some(3)));
        world.sleep(60.0).await;
        assert_eq!(trader.get("/v2/positions").await, json!([]));
        assert_eq!(trader.get("/v2/orders?status=open").await, json!([]));
        let limit = json!({"type": "limit", "limit_price": "1"});
        trader.order("AAPL", "1", limit).await;
        let (status, cancelled) = trader.call("delete", "/v2/orders", "/v2/orders", None).await;
        assert_eq!((status, &cancelled[0]["status"]), (207, &json!(200)));
        assert_eq!(trader.get("/v2/assets").await.as_array().map(Vec::len), Some(7));
        let asset = trader.call("get", "/v2/assets/AAPL", "/v2/assets/{symbol_or_asset_id}", None).await.1;
        assert_eq!((&asset["symbol"], &asset["fractionable"]), (&json!("AAPL"), &json!(true)));
    });
}

#[test]
fn notional_orders_buy_for_dollars() {
    run_virtual(async {
        let world = World::start(600, calm()).await;
        let trader = world.trader();
        let body = json!({"symbol": "ETHUSD", "notional": 100, "side": "buy", "type": "market", "time_in_force": "ioc"});
        let (status, order) = trader.call("post", "/v2/orders", "/v2/orders", Some(body)).await;
        assert_eq!((status, &order["qty"], &order["notional"]), (200, &Value::Null, &json!("100")));
        world.sleep(5.0).await;
        let order = trader.order_state(text(&order["id"])).await;
        let spent = number(&order["filled_qty"]) * number(&order["filled_avg_price"]);
        assert!((spent - 100.0).abs() < 1.0, "{spent}");
    });
}

#[test]
fn faults_of_requests_do_what_they_say() {
    run_virtual(async {
        let world = World::start(3600, calm()).await;
        let trader = world.trader();
        world.broker_fault(json!({"kind": "reject", "share": 1, "for_seconds": 10})).await;
        let (status, body) = trader.order("AAPL", "1", json!({})).await;
        assert_eq!((status, &body["code"]), (403, &json!(40_310_000)));
        world.sleep(10.0).await;
        assert_eq!(trader.order("AAPL", "1", json!({})).await.0, 200);
        let status = async || trader.call("get", "/v2/clock", "/v2/clock", None).await.0;
        world.broker_fault(json!({"kind": "error", "for_seconds": 5})).await;
        assert_eq!(status().await, 500);
        world.sleep(5.0).await;
        world.broker_fault(json!({"kind": "throttle", "for_seconds": 5})).await;
        assert_eq!(status().await, 429);
        world.sleep(5.0).await;
        world.broker_fault(json!({"kind": "refuse", "for_seconds": 5})).await;
        assert_eq!(status().await, 503);
        world.sleep(5.0).await;
        assert_eq!(status().await, 200);
        world.broker_fault(json!({"kind": "latency", "milliseconds": 8000, "for_seconds": 60})).await;
        let hasty = trader.client.with_timeout(Duration::from_secs(2));
        let body = json!({"symbol": "AAPL", "qty": 1, "side": "buy", "type": "market", "time_in_force": "day",
            "client_order_id": "hasty"});
        let lost = hasty.post(&format!("{}/v2/orders", world.broker), &body).await.expect_err("too slow");
        assert!(lost.is_timeout(), "{lost}");
        world.sleep(60.0).await;
        let order = trader.get("/v2/orders:by_client_order_id?client_order_id=hasty").await;
        assert_eq!(order["status"], "filled", "it was carried out although nobody waited for the answer");
        assert_eq!(world.broker_fault(json!({"kind": "reject", "share": 2})).await, 422);
        assert_eq!(world.broker_fault(json!({"kind": "error", "status": 200})).await, 422);
        assert_eq!(world.broker_fault(json!({"kind": "latency"})).await, 422);
    });
}

#[test]
fn faults_of_the_stream_do_what_they_say() {
    run_virtual(async {
        let world = World::start(3600, calm()).await;
        let trader = world.trader();
        let mut stream = world.stream().await;
        world.broker_fault(json!({"kind": "lost_fill", "fills": 1000, "for_seconds": 30})).await;
        let (_, order) = trader.order("AAPL", "2", json!({})).await;
        let (updates, open) = stream.updates(10.0).await;
        assert!(open && updates.iter().all(|update| update["event"] != "fill"), "{updates:?}");
        assert_eq!(trader.order_state(text(&order["id"])).await["status"], "filled", "REST knows");
        world.broker_fault(json!({"kind": "stream_disconnect"})).await;
        assert!(!stream.updates(1.0).await.1);
        let mut stream = world.stream().await;
        world.broker_fault(json!({"kind": "stream_refuse", "for_seconds": 20})).await;
        assert!(!stream.updates(1.0).await.1);
        let url = format!("{}/stream", world.broker.replace("http://", "ws://"));
        let refused = ws::connect(&world.net, &url, &[], Duration::from_secs(1)).await.expect_err("refused");
        assert!(refused.to_string().contains("503"), "{refused}");
        assert_eq!(trader.get("/v2/clock").await["is_open"], true, "REST goes on");
        world.sleep(20.0).await;
        let _stream = world.stream().await;
    });
}

#[test]
fn about_three_in_a_hundred_orders_are_rejected_some_of_them_late() {
    run_virtual(async {
        let behaviour = Behaviour { reject_share: 0.3, ..Behaviour::default() };
        let world = World::start(36_000, Config { behaviour, ..calm() }).await;
        let trader = world.trader();
        let mut stream = world.stream().await;
        let (mut refused, mut accepted) = (0, 0);
        for n in 0..200 {
            let qty = if n % 2 == 0 { "1" } else { "-1" };
            match trader.order("AAPL", qty, json!({})).await.0 {
                200 => accepted += 1,
                403 => refused += 1,
                other => panic!("HTTP {other}"),
            }
        }
        let (updates, _) = stream.updates(30.0).await;
        let late = updates.iter().filter(|update| update["event"] == "rejected").count();
        assert!((25..65).contains(&refused) && (6..40).contains(&late), "{refused} at once, {late} late");
        let filled = updates.iter().filter(|update| update["event"] == "fill").count();
        assert_eq!(filled, accepted - late);
    });
}

#[test]
fn a_killed_broker_goes_on_where_it_was() {
    run_virtual(async {
        let folder = tempfile::tempdir().expect("a folder");
        let state_path = Some(folder.path().join("broker.db"));
        let mut world = World::start(3600, Config { state_path, ..calm() }).await;
        let trader = world.trader();
        trader.order("AAPL", "7", json!({})).await;
        trader.order("TSLA", "-3", json!({})).await;
        let resting =
            json!({"type": "limit", "limit_price": "1", "time_in_force": "gtc", "client_order_id": "rests"});
        let resting = trader.order("MSFT", "1", resting).await.1;
        world.sleep(30.0).await;
        trader.order("AAPL", "-2", json!({})).await;
        world.sleep(30.0).await;
        let ledger = async || {
            let answer =
                trader.client.get(&format!("{}/control/ledger", world.broker)).await.expect("answered");
            let mut ledger: Value = answer.json().expect("JSON");
            ledger["equity"] = Value::Null; // Moves with the prices.
            ledger
        };
        let before = (ledger().await, trader.get("/v2/orders?status=all").await);
        let activities = trader.get("/v2/account/activities").await;
        world.restart_broker().await;
        let after = (
            trader.client.get(&format!("{}/control/ledger", world.broker)).await.expect("answered"),
            trader.get("/v2/orders?status=all").await,
        );
        let mut ledger: Value = after.0.json().expect("JSON");
        ledger["equity"] = Value::Null;
        assert_eq!((ledger, after.1), before);
        assert_eq!(trader.get("/v2/account/activities").await, activities);
        let again = trader.order("MSFT", "1", json!({"client_order_id": "rests"})).await;
        assert_eq!((again.0, &again.1["code"]), (422, &json!(40_010_001)), "it remembers the client's ids");
        let path = format!("/v2/orders/{}", text(&resting["id"]));
        assert_eq!(trader.call("delete", &path, "/v2/orders/{order_id}", None).await.0, 204);
        let (status, fresh) = trader.order("AAPL", "1", json!({})).await;
        assert_eq!(status, 200);
        let ids: Vec<&str> =
            activities.as_array().expect("a list").iter().map(|a| text(&a["order_id"])).collect();
        assert!(!ids.contains(&text(&fresh["id"])), "no id is given twice");
    });
}

#[test]
fn a_file_that_holds_no_account_is_refused_with_its_name() {
    run_virtual(async {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("rubbish.db");
        std::fs::write(&path, "this is no database, it is a text that somebody wrote").expect("written");
        let config = Config { state_path: Some(path), listen: "127.0.0.1:0".to_owned(), ..calm() };
        let clock = tradewatch_platforms::runtime::Clock::wall();
        let net = tradewatch_platforms::runtime::Net::new_virtual();
        let error = tradewatch_platforms::broker::bind(config, clock, &net).await.expect_err("no account");
        assert!(error.is_decode() && error.to_string().contains("rubbish.db"), "{error}");
    });
}
