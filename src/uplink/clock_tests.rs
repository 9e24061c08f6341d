//! What the platform hears of the time: before the events that it is about, and scans that wait for it.

use super::*;
use crate::clock::Span;
use crate::health::ClockState;

fn span(offset_ms: i64) -> Span {
    Span { from_mono_ms: 0, to_mono_ms: i64::MAX / 2, offset_ms, err_ms: 1_100, tq: TimeQuality::Gnss }
}

/// The topic's last level and the payload of each message but for those about the node's own state.
fn story(broker: &FakeBroker) -> Vec<(String, serde_json::Value)> {
    let last = |topic: &str| topic.rsplit('/').next().unwrap().to_owned();
    let told = |got: &Got| (last(&got.topic), serde_json::from_str(&got.payload).unwrap());
    let mut all: Vec<(String, serde_json::Value)> = broker.got().iter().map(told).collect();
    all.retain(|(topic, _)| matches!(topic.as_str(), "clock" | "scan" | "fix"));
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_known_of_an_earlier_boot_goes_out_before_its_events_and_this_boots_word_stays() {
    let mut before = Rig::new();
    before.append(&[Kind::Scan, Kind::Fix]).await;
    before.store.submit(Group::Now, |txn| txn.set_spans(1, &[span(7)])).await.unwrap();
    before.writer.0.cancel();
    before.writer.1.take().unwrap().join().unwrap();
    let dir = Arc::clone(&before.dir);
    drop(before);
    let mut rig = Rig::booted(dir, "b2");
    rig.append(&[Kind::Scan]).await;
    let mut tasks = JoinSet::new();
    let broker = FakeBroker::start(&mut tasks, Manner::default(), always(0)).await;
    let stop = rig.uplink(config(broker.port), quick());
    until("all to be sent", || rig.is_drained()).await;
    let told = story(&broker);
    let boots: Vec<_> = told.iter().map(|(topic, value)| (topic.as_str(), value["boot"].as_i64().unwrap())).collect();
    assert_eq!(boots[..2], [("clock", 1), ("clock", 2)], "{boots:?}");
    assert_eq!(boots[2..].iter().filter(|(topic, _)| *topic != "clock").count(), 3);
    let word = &told[0].1;
    assert_eq!(
        (&word["rev"], &word["spans"][0]["offset_ms"], &word["spans"][0]["tq"]),
        (&1.into(), &7.into(), &"gnss".into())
    );
    assert_eq!(told[1].1["spans"], serde_json::json!([]), "of this boot nothing is known yet");
    // Later this boot learns the time, and with it that of the one before better.
    rig.store
        .submit(Group::Now, |txn| txn.set_spans(1, &[span(8)]).and_then(|()| txn.set_spans(2, &[span(9)])))
        .await
        .unwrap();
    rig.append(&[Kind::Fix]).await;
    rig.board.post(State::Clock(ClockState { tq: "gnss", rev: Some(1), ..ClockState::default() }));
    until("the better word", || broker.last("/clock").is_some_and(|word| word["boot"] == 2 && word["rev"] == 1)).await;
    assert!(broker.got().iter().filter(|got| got.topic.ends_with("/clock")).all(|got| got.retain));
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scans_without_a_trusted_time_wait_for_it_and_for_what_it_means_for_them() {
    let mut rig = Rig::new();
    let scans = rig.append(&[Kind::Scan, Kind::Place, Kind::Fix, Kind::Scan]).await;
    let mut tasks = JoinSet::new();
    let broker = FakeBroker::start(&mut tasks, Manner::default(), always(0)).await;
    let patient = Uplink { hold_untrusted: Duration::from_secs(600), ..config(broker.port) };
    let stop = rig.uplink(patient, quick());
    until("the fix", || broker.events().len() == 1).await;
    rig.store.submit(Group::Now, |txn| txn.set_spans(1, &[span(9)])).await.unwrap();
    assert_eq!(broker.events().len(), 1, "the lane waits, in order");
    rig.board.post(State::Clock(ClockState { tq: "gnss", rev: Some(1), ..ClockState::default() }));
    until("the scans", || rig.is_drained()).await;
    let told: Vec<(String, i64)> =
        story(&broker).iter().map(|(topic, v)| (topic.clone(), v["rev"].as_i64().unwrap_or(-1))).collect();
    let words: Vec<&str> = told.iter().map(|(topic, _)| topic.as_str()).collect();
    assert_eq!(words, ["clock", "fix", "clock", "scan", "scan"], "{told:?}");
    assert_eq!(told[2].1, 1);
    let order: Vec<i64> = broker.events().iter().map(|(_, seq)| *seq).collect();
    assert_eq!(order, [scans[2].0, scans[0].0, scans[1].0, scans[3].0]);
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scans_wait_no_longer_for_a_trusted_time_than_they_may() {
    let mut rig = Rig::new();
    rig.append(&[Kind::Scan]).await;
    let mut tasks = JoinSet::new();
    let broker = FakeBroker::start(&mut tasks, Manner::default(), always(0)).await;
    let begun = rig.clock.now().mono_ms();
    let stop = rig.uplink(Uplink { hold_untrusted: Duration::from_secs(2), ..config(broker.port) }, quick());
    until("the scan", || rig.is_drained()).await;
    assert!(rig.clock.now().mono_ms() - begun >= 1_500, "it has waited");
    stop.cancel();
}
