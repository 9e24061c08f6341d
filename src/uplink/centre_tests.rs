//! What the centre asks, over a real socket, and what it is answered.

use serde_json::{Value, json};

use super::*;

/// What was answered under an id, in the order it came.
fn answers(broker: &FakeBroker, id: &str) -> Vec<Value> {
    let got = broker.got();
    let own = got.iter().filter(|got| got.topic.ends_with(&format!("/ack/{id}")));
    own.map(|got| serde_json::from_str(&got.payload).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_was_refused_as_busy_begins_when_it_is_asked_for_again_with_the_same_id() {
    let (mut rig, mut tasks) = (Rig::new(), JoinSet::new());
    let broker = FakeBroker::start(&mut tasks, Manner::default(), always(0)).await;
    rig.append(&[Kind::Scan; 20]).await;
    // A replay has a quarter of the ceiling: the first one lasts two seconds.
    let stop = rig.uplink(Uplink { max_per_s: 40, ..config(broker.port) }, quick());
    until("all to be sent", || rig.is_drained()).await;
    let (epoch, later_ms) = (rig.store.epoch().to_string(), rig.clock.now().wall_ms + 60_000);
    let ask = |id: &str, from: i64, to: i64| {
        let command = json!({ "id": id, "expires_ms": later_ms, "epoch": epoch, "from": from, "to": to });
        broker.publish("waypost/v1/halden/wp-t/cmd/replay", &command.to_string());
    };
    let answer = |id: &str, reason: &str| answers(&broker, id).into_iter().find(|answer| answer["reason"] == reason);
    // What is said before the node listens is gone.
    let mut next = Instant::now();
    let mut is_time = || {
        let is_time = Instant::now() >= next;
        next += if is_time { Duration::from_millis(300) } else { Duration::ZERO };
        is_time
    };
    until("the first to begin and the second to be refused", || {
        if is_time() && answers(&broker, "gap-1").is_empty() {
            ask("gap-1", 1, 20);
            ask("gap-2", 6, 10);
        }
        answer("gap-1", "running").is_some() && answer("gap-2", "busy").is_some()
    })
    .await;
    until("the end of the first", || answer("gap-1", "done").is_some()).await;
    until("the end of the second", || {
        if is_time() && answer("gap-2", "running").is_none() {
            ask("gap-2", 6, 10);
        }
        answer("gap-2", "done").is_some()
    })
    .await;
    let done = answer("gap-2", "done").unwrap();
    assert_eq!((&done["ok"], &done["count"]), (&json!(true), &json!(5)));
    stop.cancel();
}
