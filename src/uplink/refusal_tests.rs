//! Brokers that refuse: a reason code, a node, an event that they cannot bear, and whatever else happens then goes on.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_reason_code_ends_as_the_contract_says() {
    let mut rig = Rig::new();
    let mut tasks = JoinSet::new();
    // The first event of each kind of answer gets it always; all others pass.
    let answers = [(1, 0x80), (2, 0x83), (3, 0x97), (4, 0x90), (5, 0x99), (6, 0x95), (7, 0x10)];
    let broker = FakeBroker::start(&mut tasks, Manner::default(), move |got, _| {
        let seq = serde_json::from_str::<serde_json::Value>(&got.payload).ok().and_then(|event| event["seq"].as_i64());
        Reply::Code(answers.iter().find(|(of, _)| Some(*of) == seq).map_or(0, |(_, code)| *code))
    })
    .await;
    rig.append(&[Kind::Scan; 8]).await;
    let stop = rig.uplink(config(broker.port), quick());
    // Retries count only while others pass; these do, until no more may overtake.
    rig.append(&[Kind::Scan; 200]).await;
    until("all to be settled", || rig.is_drained()).await;
    let refused = |seq: i64, reason: &str| (seq, reason.to_owned());
    let expect = [
        refused(1, "broker_refused"),
        refused(2, "broker_refused"),
        refused(3, "broker_refused"),
        refused(4, "topic_refused"),
        refused(5, "bad_format"),
        refused(6, "too_large"),
    ];
    assert_eq!(rig.letters(), expect);
    assert_eq!((rig.count("dead"), rig.count("sent_unheard")), (6, 1));
    for seq in 1..=3 {
        let tries = broker.events().iter().filter(|(_, of)| *of == seq).count();
        assert!(tries >= 10, "event {seq} was tried {tries} times");
    }
    rig.assert_balanced();
    // 0x95 is no answer to a publish: the client ends the connection for it.
    let counted = rig.counted("uplink_publishes_total");
    for (code, n) in [("0x00", 201), ("0x10", 1), ("0x90", 1), ("0x99", 1)] {
        let series = format!(r#"lane="scan",code="{code}" {n}"#);
        assert!(counted.contains(&series), "{series} in {counted:?}");
    }
    until("the watermark to name the dead", || {
        broker.last("/watermark").is_some_and(|mark| mark["missing"].as_array().is_some_and(|list| list.len() == 4))
    })
    .await;
    stop.cancel();
    until("the uplink to end", || rig.tasks.try_join_next().is_some()).await;
    assert_eq!(broker.goodbyes(), 1);
    assert_eq!(broker.last("/status").unwrap()["state"], "offline");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_may_not_publish_waits_without_burning_attempts() {
    let mut rig = Rig::new();
    let mut tasks = JoinSet::new();
    let open = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let broker = FakeBroker::start(&mut tasks, Manner::default(), move |got, _| {
        let denied = got.topic.ends_with("/event/scan") && !gate.load(Ordering::Acquire);
        Reply::Code(if denied { 0x87 } else { 0 })
    })
    .await;
    rig.append(&[Kind::Scan, Kind::Fix, Kind::Scan, Kind::Scan, Kind::Fix]).await;
    let stop = rig.uplink(config(broker.port), quick());
    until("the alarm and the other lane", || rig.alarm("not_authorized") && rig.count("sent") == 2).await;
    until("twelve tries", || broker.events().iter().filter(|(_, seq)| *seq == 1).count() > 12).await;
    assert_eq!(rig.state().unwrap().state, "held");
    assert!(rig.letters().is_empty());
    open.store(true, Ordering::Release);
    until("the lane to go on", || rig.is_drained()).await;
    until("the alarm to end", || !rig.alarm("not_authorized")).await;
    until("the broker to be told", || broker.last("/alarm/not_authorized") == Some(serde_json::Value::Null)).await;
    let firsts: Vec<i64> =
        broker.events().iter().rev().map(|(_, seq)| *seq).filter(|seq| [1, 3, 4].contains(seq)).take(2).collect();
    assert_eq!(firsts, [4, 3], "in order after the hold");
    rig.assert_balanced();
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unheard_events_wait_on_hold_and_count_apart_on_accept() {
    for (policy, unheard) in [(NoSubscriber::Accept, 3), (NoSubscriber::Hold, 0)] {
        let mut rig = Rig::new();
        let mut tasks = JoinSet::new();
        let broker = FakeBroker::start(&mut tasks, Manner::default(), |got, before| {
            Reply::Code(if got.topic.contains("/event/") && before < 2 { 0x10 } else { 0 })
        })
        .await;
        rig.append(&[Kind::Scan; 3]).await;
        let stop = rig.uplink(Uplink { no_subscriber: policy, ..config(broker.port) }, quick());
        until("all to be settled", || rig.is_drained()).await;
        assert_eq!((rig.count("sent_unheard"), rig.count("sent")), (unheard, 3 - unheard));
        rig.assert_balanced();
        stop.cancel();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_larger_than_the_broker_takes_is_a_letter_and_the_rest_flows() {
    let mut rig = Rig::new();
    let mut tasks = JoinSet::new();
    let manner = Manner { packet_max: Some(2_000), receive_max: Some(3), ..Manner::default() };
    let broker = FakeBroker::start(&mut tasks, manner, always(0)).await;
    rig.append(&[Kind::Scan; 10]).await;
    rig.append_with(&[Kind::Scan], "x".repeat(3_000)).await;
    rig.append(&[Kind::Scan; 10]).await;
    let stop = rig.uplink(config(broker.port), quick());
    until("all to be settled", || rig.is_drained()).await;
    assert_eq!(rig.letters(), [(11, "too_large".to_owned())]);
    assert_eq!((rig.count("sent"), rig.count("dead")), (20, 1));
    assert!(rig.counted("uplink_reconnects_total").is_empty(), "the connection stood");
    rig.assert_balanced();
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_ends_each_connection_is_a_letter_once_another_passed() {
    let mut rig = Rig::new();
    let mut tasks = JoinSet::new();
    let broker = FakeBroker::start(&mut tasks, Manner::default(), |got, _| {
        if got.payload.contains("poison") { Reply::Close } else { Reply::Code(0) }
    })
    .await;
    rig.append(&[Kind::Fix, Kind::Scan]).await;
    rig.append_with(&[Kind::Scan], "poison".into()).await;
    rig.append(&MIX).await;
    let stop = rig.uplink(config(broker.port), quick());
    until("all to be settled", || rig.is_drained()).await;
    assert_eq!(rig.letters(), [(3, "poison".to_owned())]);
    assert_eq!(rig.count("sent"), 7);
    rig.assert_balanced();
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_drops_everybody_makes_no_letters() {
    let mut rig = Rig::new();
    let mut tasks = JoinSet::new();
    let broker = FakeBroker::start(&mut tasks, Manner::default(), |got, _| {
        if got.conn < 12 && got.topic.contains("/event/") { Reply::Close } else { Reply::Code(0) }
    })
    .await;
    rig.append(&MIX).await;
    let stop = rig.uplink(config(broker.port), quick());
    until("all to be sent", || rig.is_drained()).await;
    assert!(rig.letters().is_empty(), "{:?}", rig.letters());
    assert_eq!(rig.count("sent"), 5);
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disconnect_for_size_makes_a_letter_of_the_event_that_was_alone() {
    let mut rig = Rig::new();
    let mut tasks = JoinSet::new();
    let broker = FakeBroker::start(&mut tasks, Manner::default(), |got, _| {
        if got.payload.contains("huge") { Reply::Disconnect(0x95) } else { Reply::Code(0) }
    })
    .await;
    rig.append(&[Kind::Scan; 3]).await;
    rig.append_with(&[Kind::Scan], "huge".into()).await;
    rig.append(&[Kind::Scan; 3]).await;
    let stop = rig.uplink(config(broker.port), quick());
    until("all to be settled", || rig.is_drained()).await;
    assert_eq!(rig.letters(), [(4, "too_large".to_owned())]);
    rig.assert_balanced();
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_refuses_the_node_raises_the_alarm_that_helps() {
    for (connack, alarm) in [(0x84, "protocol_refused"), (0x86, "not_authorized"), (0x87, "not_authorized")] {
        let mut rig = Rig::new();
        let mut tasks = JoinSet::new();
        let broker = FakeBroker::start(&mut tasks, Manner { connack, ..Manner::default() }, always(0)).await;
        let stop = rig.uplink(config(broker.port), quick());
        until("the alarm", || rig.alarm(alarm)).await;
        stop.cancel();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_changed_on_the_disk_is_never_sent_and_becomes_a_letter() {
    let (mut rig, mut tasks) = (Rig::new(), JoinSet::new());
    let broker = FakeBroker::start(&mut tasks, Manner::default(), always(0)).await;
    rig.append(&[Kind::Scan; 3]).await;
    let sql = rusqlite::Connection::open(rig.store.path()).unwrap();
    sql.execute("update outbox set body = '{\"lat\":0}' where seq = 2", []).unwrap();
    let stop = rig.uplink(config(broker.port), quick());
    until("all to be settled", || rig.is_drained()).await;
    assert_eq!(rig.letters(), [(2, "digest_mismatch".to_owned())]);
    assert_eq!((rig.count("sent"), rig.count("dead")), (2, 1));
    rig.assert_balanced();
    assert_eq!(broker.events().iter().map(|(_, seq)| *seq).collect::<Vec<_>>(), [1, 3]);
    stop.cancel();
}

/// The kinds of brokers that one event is too much for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cannot {
    TakeItsTopic,
    BearItsPayload,
    AnswerIt,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_event_that_a_broker_cannot_take_is_a_letter_the_rest_arrives_and_a_retry_works_once_it_is_mended() {
    for cannot in [Cannot::TakeItsTopic, Cannot::BearItsPayload, Cannot::AnswerIt] {
        let (mut rig, mut tasks) = (Rig::new(), JoinSet::new());
        let mended = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let is_mended = Arc::clone(&mended);
        let broker = FakeBroker::start(&mut tasks, Manner::default(), move |got, _| {
            let is_one = match cannot {
                Cannot::TakeItsTopic => got.topic.ends_with("/event/place"),
                _ => got.payload.contains("the one"),
            };
            match cannot {
                _ if !is_one || is_mended.load(Ordering::Acquire) => Reply::Code(0),
                Cannot::TakeItsTopic => Reply::Code(0x90),
                Cannot::BearItsPayload => Reply::Close,
                Cannot::AnswerIt => Reply::Silence,
            }
        })
        .await;
        rig.append(&[Kind::Scan; 300]).await;
        let one = rig.append_with(&[Kind::Place], "the one".into()).await[0].0;
        rig.append(&[Kind::Fix; 300]).await;
        rig.append(&[Kind::Scan; 400]).await;
        let limits = Limits { no_ack: Duration::from_millis(400), ..quick() };
        let stop = rig.uplink(config(broker.port), limits);
        let begun = Instant::now();
        // What a yard does meanwhile: others pass.
        until("all others to be sent and the one to be a letter", || rig.count("sent") == 1_000 && rig.is_drained())
            .await;
        let reason = if cannot == Cannot::TakeItsTopic { "topic_refused" } else { "poison" };
        assert_eq!(rig.letters(), [(one, reason.to_owned())], "{cannot:?}");
        eprintln!("{cannot:?}: 1,000 others and the letter after {:.1} s", begun.elapsed().as_secs_f64());
        mended.store(true, Ordering::Release);
        assert_eq!(rig.retry(one).await, None);
        until("the one to be sent", || rig.count("sent") == 1_001).await;
        assert!(rig.letters().is_empty());
        rig.assert_balanced();
        stop.cancel();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_never_answers_one_packet_id_holds_up_no_other_event() {
    // The first are the node's own words, then comes the first event.
    for place in [1, 2, 3, 4, 5, 6, 7, 8, 10, 40] {
        let (mut rig, mut tasks) = (Rig::new(), JoinSet::new());
        let nth: Mutex<BTreeMap<usize, usize>> = Mutex::default();
        let broker = FakeBroker::start(&mut tasks, Manner::default(), move |got, _| {
            let mut nth = nth.lock().unwrap();
            let n = nth.entry(got.conn).or_default();
            *n += 1;
            if *n == place { Reply::Silence } else { Reply::Code(0) }
        })
        .await;
        rig.append(&[Kind::Scan; 300]).await;
        let stop = rig.uplink(config(broker.port), Limits { no_ack: Duration::from_millis(200), ..quick() });
        until("all to be settled", || rig.is_drained()).await;
        // Where no other is left to take that place, the last one is a letter for a person.
        let letters = rig.letters();
        assert!(letters.len() <= 1 && letters.iter().all(|(_, reason)| reason == "poison"), "{place}: {letters:?}");
        assert_eq!(rig.count("sent"), 300 - i64::try_from(letters.len()).unwrap(), "{place}");
        rig.assert_balanced();
        stop.cancel();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_is_sent_at_once_and_nothing_larger_than_the_broker_named() {
    let (mut rig, mut tasks) = (Rig::new(), JoinSet::new());
    let manner = Manner { receive_max: Some(5), packet_max: Some(1_200), ..Manner::default() };
    let broker = FakeBroker::start(&mut tasks, manner, always(0)).await;
    rig.append(&MIX).await;
    for bytes in [600, 900, 1_100, 1_300] {
        rig.append_with(&[Kind::Scan], "x".repeat(bytes)).await;
    }
    rig.append(&[Kind::Fix; 200]).await;
    let stop = rig.uplink(config(broker.port), quick());
    until("all to be settled", || rig.is_drained()).await;
    assert_eq!(broker.overruns(), Vec::<String>::new());
    assert!(rig.letters().iter().all(|(_, reason)| reason == "too_large") && !rig.letters().is_empty());
    assert_eq!(rig.total("uplink_reconnects_total"), 0, "the connection stood");
    stop.cancel();
}
