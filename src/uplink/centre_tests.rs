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
    let topic = "waypost/v1/halden/wp-t/cmd/replay";
    let ask = |id: &str, from: i64, to: i64| {
        let command = json!({ "id": id, "expires_ms": later_ms, "epoch": epoch, "from": from, "to": to });
        broker.publish(topic, &command.to_string());
    };
    let answer = |id: &str, reason: &str| answers(&broker, id).into_iter().find(|answer| answer["reason"] == reason);
    // What is said before the node listens is gone.
    until("the node to listen", || broker.reaches_anyone(topic)).await;
    ask("gap-1", 1, 20);
    ask("gap-2", 6, 10);
    until("the first to begin and the second to be refused", || {
        answer("gap-1", "running").is_some() && answer("gap-2", "busy").is_some()
    })
    .await;
    until("the end of the first", || answer("gap-1", "done").is_some()).await;
    let mut next = Instant::now();
    let mut is_time = || {
        let is_time = Instant::now() >= next;
        next += if is_time { Duration::from_millis(300) } else { Duration::ZERO };
        is_time
    };
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_are_carried_out_and_answered_in_the_order_they_came() {
    let (mut rig, mut tasks) = (Rig::new(), JoinSet::new());
    let broker = FakeBroker::start(&mut tasks, Manner::default(), always(0)).await;
    rig.append(&[Kind::Scan; 10]).await;
    let stop = rig.uplink(config(broker.port), quick());
    let topic = |cmd: &str| format!("waypost/v1/halden/wp-t/cmd/{cmd}");
    until("the node to listen, and all to be sent", || broker.reaches_anyone(&topic("ping")) && rig.is_drained()).await;
    let (epoch, later_ms) = (rig.store.epoch().to_string(), rig.clock.now().wall_ms + 60_000);
    // What asks for a look at the log comes before what is answered at once, and before what nobody understands.
    let asked: Vec<String> = (1..=8).flat_map(|n| [format!("a-{n}"), format!("b-{n}"), format!("c-{n}")]).collect();
    for id in &asked {
        let (cmd, more) = match id.as_bytes()[0] {
            b'a' => ("replay", json!({ "epoch": epoch, "from": 1, "to": 10 })),
            b'b' => ("ping", json!({})),
            _ => ("ping", json!({ "nobody": "knows this" })),
        };
        let mut command = json!({ "id": id, "expires_ms": later_ms });
        command.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        broker.publish(&topic(cmd), &command.to_string());
    }
    let first_answers = || {
        let mut ids: Vec<String> = Vec::new();
        for got in broker.got() {
            let Some((_, id)) = got.topic.split_once("/ack/") else { continue };
            // The end of a replay comes when it comes.
            if !ids.iter().any(|known| known == id) {
                ids.push(id.to_owned());
            }
        }
        ids
    };
    until("an answer to each", || first_answers().len() == asked.len()).await;
    assert_eq!(first_answers(), asked);
    stop.cancel();
}
