//! Faults through their clients, as drills and the demo's scene post them.

use crate::world::{World, calm};
use serde_json::json;
use std::time::Duration;
use tradewatch_platforms::faults::Control;
use tradewatch_platforms::runtime::run_virtual;
use tradewatch_platforms::{broker, feed};

#[test]
fn controls_post_count_and_clear() {
    run_virtual(async {
        let world = World::start(600, calm()).await;
        let broker_faults: Control<broker::Fault> = Control::new(world.net.clone(), &world.broker);
        let feed_faults: Control<feed::Fault> = Control::new(world.net.clone(), &world.feed);
        let minute = Duration::from_secs(60);
        let id = broker_faults.post(broker::Fault::Reject { share: 1.0 }, minute).await.expect("posted");
        assert_eq!((id, broker_faults.count().await.expect("listed")), (1, 1));
        assert_eq!(world.trader().order("AAPL", "1", json!({})).await.0, 403);
        broker_faults.clear().await.expect("cleared");
        assert_eq!(world.trader().order("AAPL", "1", json!({})).await.0, 200);
        feed_faults.post(feed::Fault::Silence { symbol: None }, minute).await.expect("posted");
        let unknown = feed::Fault::Silence { symbol: Some("GME".to_owned()) };
        let refused = feed_faults.post(unknown, minute).await.expect_err("no such symbol");
        assert!(refused.is_decode() && refused.to_string().contains("unknown symbol `GME`"), "{refused}");
        world.sleep(61.0).await;
        assert_eq!(feed_faults.count().await.expect("listed"), 0);
        let nobody: Control<feed::Fault> = Control::new(world.net.clone(), "http://127.0.0.1:1");
        assert!(nobody.count().await.expect_err("nobody there").is_connect());
    });
}
