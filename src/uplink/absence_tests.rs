//! How a node looks from outside while it is away for a while, or while another has its name.

use super::*;

/// Hears what a subscriber hears of whether the node is there.
async fn statuses(tasks: &mut JoinSet<()>, port: u16) -> Arc<Mutex<Vec<String>>> {
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let (kept, subscribed) = (Arc::clone(&heard), Arc::new(Mutex::new(false)));
    let told = Arc::clone(&subscribed);
    tasks.spawn(async move {
        use rumqttc::v5::{AsyncClient, Event, Incoming, MqttOptions, mqttbytes::QoS};
        let mut options = MqttOptions::new("centre", "127.0.0.1", port);
        options.set_keep_alive(Duration::from_secs(60));
        let (client, mut eventloop) = AsyncClient::new(options, 16);
        client.subscribe("waypost/v1/+/+/status", QoS::AtMostOnce).await.unwrap();
        loop {
            match eventloop.poll().await.unwrap() {
                Event::Incoming(Incoming::SubAck(_)) => *told.lock().unwrap() = true,
                Event::Incoming(Incoming::Publish(publish)) => {
                    let status: serde_json::Value = serde_json::from_slice(&publish.payload).unwrap();
                    kept.lock().unwrap().push(status["state"].as_str().unwrap().to_owned());
                }
                _ => {}
            }
        }
    });
    until("the subscription", || *subscribed.lock().unwrap()).await;
    heard
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_radio_gap_of_ten_seconds_shows_no_offline_and_one_of_a_minute_does() {
    let (mut rig, mut tasks) = (Rig::new(), JoinSet::new());
    let broker = FakeBroker::start(&mut tasks, Manner::default(), always(0)).await;
    let heard = statuses(&mut tasks, broker.port).await;
    let wire = Wire::to(&mut tasks, broker.port).await;
    rig.append(&MIX).await;
    let stop = rig.uplink(config(wire.port), quick());
    let told = |state: &str, times: usize| heard.lock().unwrap().iter().filter(|one| *one == state).count() >= times;
    until("online", || told("online", 1)).await;

    // The broker's clock stands but for what passes here; that the node is back in time is `manners_tests`.
    wire.gone(true);
    until("the broker to see it", || !broker.has("wp-t")).await;
    broker.pass(10);
    wire.gone(false);
    until("online again", || told("online", 2)).await;
    broker.pass(600);
    assert!(!told("offline", 1), "{:?}", heard.lock().unwrap());

    wire.gone(true);
    until("the broker to see it", || !broker.has("wp-t")).await;
    broker.pass(29);
    assert!(!told("offline", 1));
    broker.pass(31);
    until("offline", || told("offline", 1)).await;
    wire.gone(false);
    until("online once more", || told("online", 3)).await;
    until("all to be sent", || rig.is_drained()).await;
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_a_person_lets_go_on_while_it_is_taken_off_is_there_again() {
    let (mut rig, mut tasks) = (Rig::new(), JoinSet::new());
    // Of what takes the node off, the last word is not answered: the end is under way for as long as the connection.
    let broker = FakeBroker::start(&mut tasks, Manner::default(), |got, _| {
        if got.payload.is_empty() && got.topic.ends_with("/clock") { Reply::Silence } else { Reply::Code(0) }
    })
    .await;
    rig.append(&MIX).await;
    let stop = rig.uplink(Uplink { homeassistant: true, ..config(broker.port) }, quick());
    until("all to be sent", || rig.is_drained()).await;
    let last =
        |end: &str| broker.got().iter().rev().find(|got| got.topic.ends_with(end)).map(|got| got.payload.clone());
    until("online", || last("/status").is_some_and(|status| status.contains("online"))).await;

    rig.store.submit(Group::Now, |txn| txn.retire(false)).await.unwrap();
    until("the end", || last("wp-t/clock").is_some_and(|clock| clock.is_empty())).await;
    rig.store.submit(Group::Now, |txn| txn.accept_machine()).await.unwrap();
    for end in ["/status", "/watermark", "/clock", "/alarm/config", "/backlog/config"] {
        until(end, || last(end).is_none_or(|payload| !payload.is_empty())).await;
    }
    rig.append(&MIX).await;
    until("more to be sent", || rig.is_drained()).await;
    assert_eq!(*rig.store.standing().borrow(), crate::domain::Standing::Sound);
    let traces = rig.store.read_here(|reader| reader.traces()).unwrap();
    assert!(traces.iter().any(|topic| topic.ends_with("/wp-t/")), "{traces:?}");
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_session_another_takes_over_is_not_made_to_lose_anything() {
    let (mut rig, mut tasks) = (Rig::new(), JoinSet::new());
    let broker = FakeBroker::start(&mut tasks, Manner { receive_max: Some(4), ..Manner::default() }, always(0)).await;
    rig.append(&[Kind::Scan; 500]).await;
    let stop = rig.uplink(config(broker.port), quick());
    for takeover in 1..=3 {
        until("some to be sent", || broker.events().len() > takeover * 20).await;
        // Somebody else with its name, who says nothing and goes.
        let mut options = rumqttc::v5::MqttOptions::new("wp-t", "127.0.0.1", broker.port);
        options.set_keep_alive(Duration::from_secs(60)).set_clean_start(false);
        let (_client, mut eventloop) = rumqttc::v5::AsyncClient::new(options, 16);
        eventloop.poll().await.unwrap();
        until("the takeover", || broker.takeovers() >= takeover).await;
    }
    until("all to be sent", || rig.is_drained()).await;
    assert_eq!((rig.count("sent"), rig.letters().len()), (500, 0));
    rig.assert_balanced();
    stop.cancel();
}
