//! Events that the broker refused and a person wants sent again: they arrive under the id and the seq they have, and are
//! counted once.

use super::*;
use crate::domain::{Letter, LetterFilter, LetterSheet};
use crate::store::{Act, assert_recounted};

const BY: Act<'static> = Act { who: "uid 7", what: "retry", note: "" };

impl Rig {
    /// Retries the letter of an event; why not, when it stays as it is.
    pub(super) async fn retry(&self, seq: i64) -> Option<&'static str> {
        let letter = self.letter_of(seq).letter;
        self.store.submit(Group::Now, move |txn| txn.resend(letter, &BY)).await.unwrap()
    }

    fn letter_of(&self, seq: i64) -> Letter {
        let all = self.store.read_here(|reader| reader.find_letters(&LetterFilter::default(), i64::MAX, 1000)).unwrap();
        all.into_iter().find(|letter| letter.seq == Some(seq)).unwrap()
    }

    fn sheet_of(&self, seq: i64) -> LetterSheet {
        let letter = self.letter_of(seq).letter;
        self.store.read_here(|reader| reader.letter(letter)).unwrap().unwrap()
    }

    fn steps(&self, seq: i64) -> Vec<String> {
        self.sheet_of(seq).steps.iter().map(|step| format!("{} {} {}", step.who, step.what, step.came)).collect()
    }

    /// Events unsent, dead and sent.
    fn counts(&self) -> [i64; 3] {
        assert_recounted(&self.store);
        ["unsent", "dead", "sent"].map(|word| self.count(word))
    }
}

fn seq_of(payload: &str) -> Option<i64> {
    serde_json::from_str::<serde_json::Value>(payload).ok()?["seq"].as_i64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_event_that_is_retried_arrives_under_its_own_id_and_seq_and_is_counted_once() {
    let mut rig = Rig::new();
    let mut tasks = JoinSet::new();
    let broker = FakeBroker::start(&mut tasks, Manner::default(), |got, before| {
        let refused = before == 0 && matches!(seq_of(&got.payload), Some(2 | 3));
        Reply::Code(if refused { 0x99 } else { 0 })
    })
    .await;
    rig.append(&[Kind::Scan, Kind::Scan, Kind::Fix, Kind::Scan]).await;
    let stop = rig.uplink(config(broker.port), quick());
    until("all to be settled", || rig.is_drained()).await;
    assert_eq!(rig.counts(), [0, 2, 2]);
    assert_eq!(rig.letters(), [(2, "bad_format".to_owned()), (3, "bad_format".to_owned())]);

    assert_eq!((rig.retry(2).await, rig.retry(3).await), (None, None));
    until("both to be sent", || rig.counts() == [0, 0, 4]).await;
    assert!(rig.letters().is_empty());
    let events: Vec<String> =
        broker.got().into_iter().filter(|got| got.topic.contains("/event/")).map(|got| got.payload).collect();
    for seq in [2, 3] {
        let sent: Vec<&String> = events.iter().filter(|payload| seq_of(payload) == Some(seq)).collect();
        assert_eq!(sent.len(), 2, "once refused, once taken");
        assert_eq!(sent[0], sent[1], "a resend is the same to the last byte");
    }
    assert_eq!(rig.steps(2), ["uid 7 retry to be sent again", "uplink sent "]);
    assert_eq!(rig.retry(2).await, Some("it is no longer open"));
    assert!(rig.log().iter().any(|line| line.starts_with("sent_again")), "{:?}", rig.log());
    // What follows goes on as ever.
    rig.append(&[Kind::Fix, Kind::Scan]).await;
    until("the next to be sent", || rig.counts() == [0, 0, 6]).await;
    until("the watermark to miss nothing", || {
        broker.last("/watermark").is_some_and(|mark| mark["missing"].as_array().is_some_and(Vec::is_empty))
    })
    .await;
    stop.cancel();
    until("the uplink to end", || rig.tasks.try_join_next().is_some()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_refused_again_is_dead_again_and_its_letter_says_why_this_time() {
    let mut rig = Rig::new();
    let mut tasks = JoinSet::new();
    let broker = FakeBroker::start(&mut tasks, Manner::default(), |got, before| {
        Reply::Code(match (got.topic.contains("/event/"), before) {
            (false, _) => 0,
            (true, 0) => 0x99,
            (true, 1) => 0x90,
            (true, _) => 0x10,
        })
    })
    .await;
    rig.append(&[Kind::Scan]).await;
    rig.uplink(config(broker.port), quick());
    until("the refusal", || rig.counts() == [0, 1, 0]).await;
    assert_eq!(rig.retry(1).await, None);
    until("the second refusal", || rig.letter_of(1).reason == "topic_refused").await;
    assert_eq!(rig.counts(), [0, 1, 0]);
    let refused = |reason: &str| rig.ledger().refused.get(&("uplink".into(), reason.into())).copied();
    assert_eq!((refused("bad_format"), refused("topic_refused")), (Some(0), Some(1)), "as the rows say");
    assert_eq!(rig.retry(1).await, None);
    until("the third try", || rig.count("sent_unheard") == 1).await;
    assert_eq!(rig.counts(), [0, 0, 0]);
    assert_eq!(
        rig.steps(1),
        [
            "uid 7 retry to be sent again",
            "uplink refused topic_refused 0x90",
            "uid 7 retry to be sent again",
            "uplink sent nobody subscribes"
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_to_be_sent_again_survives_the_uplink_and_a_backlog_is_not_held_up_by_it() {
    let mut rig = Rig::new();
    let mut tasks = JoinSet::new();
    let gate = Arc::new(Mutex::new(false));
    let open = Arc::clone(&gate);
    let broker = FakeBroker::start(&mut tasks, Manner::default(), move |got, before| {
        let of_200 = seq_of(&got.payload).is_some_and(|seq| got.topic.contains("/event/") && seq <= 200);
        match (of_200, before) {
            (true, 0) => Reply::Code(0x99),
            (true, 1) if !*open.lock().unwrap() => Reply::Silence,
            _ => Reply::Code(0),
        }
    })
    .await;
    rig.append(&[Kind::Scan; 200]).await;
    let stop = rig.uplink(config(broker.port), quick());
    until("the refusals", || rig.counts() == [0, 200, 0]).await;
    for seq in 1..=200 {
        assert_eq!(rig.retry(seq).await, None);
    }
    assert_eq!(rig.retry(1).await, Some("its event is on its way to the broker again"));
    until("a window full to fly", || broker.events().len() >= 200 + 64).await;
    assert_eq!(rig.counts(), [200, 0, 0], "unsent until the broker has answered");
    // The uplink ends with all of it in flight.
    stop.cancel();
    until("the uplink to end", || rig.tasks.try_join_next().is_some()).await;
    *gate.lock().unwrap() = true;
    rig.append(&[Kind::Scan; 300]).await;
    let stop = rig.uplink(config(broker.port), quick());
    until("all to be sent", || rig.counts() == [0, 0, 500]).await;
    let firsts: Vec<i64> = broker.events().iter().map(|(_, seq)| *seq).filter(|seq| *seq > 200).collect();
    assert_eq!(firsts, (201..=500).collect::<Vec<_>>(), "first publishes go in order");
    stop.cancel();
    until("the uplink to end", || rig.tasks.try_join_next().is_some()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_too_large_for_a_real_broker_is_a_letter_and_arrives_once_when_the_broker_is_mended() {
    let Some(mut broker) = Mosquitto::start_with("max_packet_size 2000\n") else { return };
    broker.is_up().await;
    let mut rig = Rig::new();
    let mut tasks = JoinSet::new();
    let heard = platform(&mut tasks, broker.port).await;
    rig.append(&[Kind::Scan]).await;
    rig.append_with(&[Kind::Scan], "x".repeat(4_000)).await;
    rig.append(&[Kind::Scan]).await;
    rig.uplink(config(broker.port), quick());
    until("the rest to pass", || rig.counts() == [0, 1, 2]).await;
    assert_eq!(rig.letters(), [(2, "too_large".to_owned())]);
    broker.stop();
    let conf = broker.dir.path().join("mosquitto.conf");
    let text = std::fs::read_to_string(&conf).unwrap().replace("max_packet_size 2000", "max_packet_size 20000");
    std::fs::write(&conf, text).unwrap();
    // Asked while the broker is away: it waits as the others do.
    assert_eq!(rig.retry(2).await, None);
    assert_eq!(rig.counts(), [1, 0, 2]);
    broker.run();
    until("it to be sent", || rig.counts() == [0, 0, 3]).await;
    until("the platform to have it", || by_seq(&heard).len() == 3).await;
    let id = rig.sheet_of(2).event.unwrap().to_string();
    let of_2: Vec<_> = heard.lock().unwrap().iter().filter(|event| event["seq"] == 2).cloned().collect();
    assert_eq!((of_2.len(), &of_2[0]["id"]), (1, &serde_json::json!(id)), "once, under its id");
}
