//! The promises of the stream, on real sockets over a real store.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::front::Limits;
use super::rig::{Rig, Said, http};
use crate::config::Http;
use crate::domain::{AssetState, EventId, Kind, Seq, TimeQuality};
use crate::health::{Alarm, ClockState, Severity, State};
use crate::store::Group;

/// The cursor that follows the last event of an earlier one.
fn cursor_of(said: &Said) -> String {
    said.id.clone().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_says_hello_first_and_then_what_is_committed_from_now_on() {
    let rig = Rig::start().await;
    rig.scans(1, 3).await;
    let mut client = rig.stream("", None).await;
    assert_eq!(client.status, 200, "{}", client.head);
    for header in ["content-type: text/event-stream", "cache-control: no-store", "x-accel-buffering: no", "nosniff"] {
        assert!(client.head.contains(header), "{header}: {}", client.head);
    }
    let hello = client.said().await.unwrap();
    assert_eq!(hello.event, "hello");
    assert!(hello.raw.starts_with("retry: 2000\n"), "{}", hello.raw);
    let said = hello.json();
    assert_eq!((&said["node"], &said["hb_ms"]), (&"wp-07".into(), &5000.into()));
    assert_eq!(said["cursor"], rig.store.cursor_now().to_string());
    assert_eq!(said["oldest"], format!("{}.0", rig.store.epoch()));
    rig.scans(4, 1).await;
    let delta = client.events().await;
    assert_eq!(delta.seqs(), [4]);
    assert_eq!(cursor_of(&delta), rig.store.cursor_now().to_string());
    assert_eq!(client.until("hb").await.id, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resumed_a_hundred_times_at_any_moment_every_event_comes_exactly_once_in_order() {
    let rig = Rig::start().await;
    let resumed = watch::Sender::new(0_usize);
    // Written while it resumes: each four commits wait for one more resumption.
    let writing = async {
        for n in 0..400_i64 {
            resumed.subscribe().wait_for(|so_far| *so_far >= usize::try_from(n / 4).unwrap()).await.unwrap();
            match n % 7 {
                0 => rig.scans(10_000 + n * 40, 37).await,
                _ => drop(rig.event(n, Kind::Fix, "{\"lat\":59.1,\"lon\":11.3}").await),
            }
        }
        rig.store.cursor_now().seq.0
    };
    let reading = async {
        let (mut cursor, mut seen) = (format!("{}.0", rig.store.epoch()), Vec::new());
        for turn in 0..110 {
            // By header and by query in turns, and after a different number of frames each time.
            let mut client = match turn % 2 {
                0 => rig.stream("", Some(&cursor)).await,
                _ => rig.stream(&format!("?after={cursor}"), None).await,
            };
            for _ in 0..=(turn * 7 % 5) {
                if rig.store.cursor_now().to_string() == cursor {
                    break;
                }
                let delta = client.events().await;
                seen.extend(delta.seqs());
                cursor = cursor_of(&delta);
            }
            resumed.send_replace(turn + 1);
        }
        (cursor, seen)
    };
    let (head, (cursor, mut seen)) = tokio::join!(writing, reading);
    let mut client = rig.stream("", Some(&cursor)).await;
    while seen.last() != Some(&head) {
        seen.extend(client.events().await.seqs());
    }
    assert_eq!(seen, (1..=head).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_readers_get_the_same_bytes() {
    let rig = Rig::start().await;
    let (mut one, mut two) = (rig.stream("", None).await, rig.stream("", None).await);
    assert_eq!((one.said().await.unwrap().event, two.said().await.unwrap().event), ("hello".into(), "hello".into()));
    for n in 0..20 {
        rig.event(n, Kind::Fix, "{\"lat\":59.1,\"lon\":11.3}").await;
        assert_eq!(one.events().await.raw, two.events().await.raw);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_of_another_life_of_the_store_is_reset_and_goes_on_from_the_head() {
    let rig = Rig::start().await;
    rig.scans(1, 2).await;
    let mut client = rig.stream("?after=00000000000000ff.1", None).await;
    assert_eq!(client.said().await.unwrap().event, "hello");
    assert_eq!(
        client.said().await.map(|said| (said.event, said.data)),
        Some(("reset".into(), "{\"reason\":\"epoch\"}".into()))
    );
    rig.scans(3, 1).await;
    assert_eq!(client.events().await.seqs(), [3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_five_thousand_events_behind_is_a_reset_and_five_thousand_are_replayed() {
    let rig = Rig::start().await;
    rig.scans(1, 5_001).await;
    let epoch = rig.store.epoch();
    let mut client = rig.stream(&format!("?after={epoch}.0"), None).await;
    assert_eq!(client.until("reset").await.data, "{\"reason\":\"too_many\"}");
    let mut client = rig.stream(&format!("?after={epoch}.1"), None).await;
    let mut seen = Vec::new();
    while seen.len() < 5_000 {
        let delta = client.events().await;
        assert!(delta.json()["items"].as_array().unwrap().len() <= 256 && delta.raw.len() < 64 * 1024);
        seen.extend(delta.seqs());
    }
    assert_eq!(seen, (2..=5_001).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_garbage_is_refused_and_the_header_wins_over_the_query() {
    let rig = Rig::start().await;
    for query in ["?after=garbage", "?after=00000000000000ff.-1", "?items=event,scan", "?after=%ff"] {
        let (status, said) = rig.get(&format!("/api/v1/stream{query}")).await;
        assert_eq!((status, &said["error"]["code"]), (400, &"bad_request".into()), "{query}: {said}");
    }
    assert_eq!(rig.stream("", Some("garbage")).await.status, 400);
    assert_eq!(rig.stream("?after=&lastEventId=&r=0.5", None).await.status, 200);
    rig.scans(1, 3).await;
    let epoch = rig.store.epoch();
    let mut client = rig.stream(&format!("?after={epoch}.0"), Some(&format!("{epoch}.2"))).await;
    assert_eq!(client.events().await.seqs(), [3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_too_many_is_told_goodbye_and_a_freed_seat_is_taken() {
    let rig = Rig::with(Http { max_streams: 2, ..http() }, Limits::default()).await;
    let (one, two) = (rig.stream("", None).await, rig.stream("", None).await);
    let mut third = rig.stream("", None).await;
    assert_eq!(third.status, 200);
    let bye = third.until("bye").await;
    assert_eq!(bye.json()["reason"], "full");
    assert_eq!(third.said().await, None);
    drop(one);
    rig.until_metrics(|page| page.contains("waypost_streams 1")).await;
    assert_eq!(rig.stream("", None).await.said().await.unwrap().event, "hello");
    drop(two);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_does_not_read_is_dropped_and_the_others_go_on() {
    let limits = Limits { stall: Duration::from_millis(300), ..Limits::default() };
    let rig = Rig::with(Http { max_streams: 8, ..http() }, limits).await;
    let stalled = rig.stream("", None).await;
    let mut reader = rig.stream("", None).await;
    assert_eq!(reader.said().await.unwrap().event, "hello");
    let (mut seen, mut n) = (0, 0);
    let dropped = "waypost_stream_dropped_total{reason=\"slow\"} 1";
    let flood = async {
        loop {
            rig.scans(n, 100).await;
            n += 100;
            while seen < n {
                let delta = reader.events().await.seqs();
                seen += i64::try_from(delta.len()).unwrap();
            }
            let mut page = rig.ask("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
            if page.text().await.contains(dropped) {
                break;
            }
        }
    };
    timeout(Duration::from_secs(60), flood).await.expect("the stalled reader is dropped");
    rig.until_metrics(|page| page.contains("waypost_streams 1")).await;
    drop(stalled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_falls_far_behind_still_sees_every_event_once_in_order() {
    let rig = Rig::start().await;
    let mut slow = rig.stream("", None).await;
    let mut quick = rig.stream("", None).await;
    let mut seen = Vec::new();
    // More than socket and feed hold together: what it missed comes from the store.
    for n in 0..80_i64 {
        rig.long_scans(n * 100, 100, 2_000).await;
        while seen.len() < usize::try_from(n * 100).unwrap() {
            seen.extend(quick.events().await.seqs());
        }
    }
    let mut late = Vec::new();
    while late.len() < 8_000 {
        late.extend(slow.events().await.seqs());
    }
    assert_eq!(late, (1..=8_000).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_come_without_id_at_most_four_a_second_and_never_turn_back() {
    let rig = Rig::start().await;
    let mut client = rig.stream("?items=asset", None).await;
    assert_eq!(client.said().await.unwrap().event, "hello");
    let at = |mono_ms: i64| AssetState {
        asset: "TRK-07".into(),
        id: EventId([1; 16]),
        seq: Seq(1),
        ts_ms: mono_ms,
        tq: TimeQuality::Gnss,
        received: (1, mono_ms),
        position: Some((59.1, 11.3)),
        speed_mps: None,
        course_deg: None,
        place: None,
        since_ms: None,
        source: Some("gps0".into()),
        gps_place: None,
    };
    let begun = rig.clock.now().mono_us;
    let (mut frames, mut newest) = (0, 0);
    for n in 1..=300 {
        rig.board.post(State::Asset(at(n)));
        tokio::task::yield_now().await;
    }
    while newest < 300 {
        let delta = client.until("delta").await;
        assert_eq!(delta.id, None);
        let ts = delta.json()["items"][0]["v"]["ts_ms"].as_i64().unwrap();
        assert!(ts > newest, "{ts} after {newest}");
        (frames, newest) = (frames + 1, ts);
    }
    let quarters = (rig.clock.now().mono_us - begun) / 250_000;
    assert!(frames <= quarters + 1, "{frames} frames in {quarters} quarters");
    // A commit that is behind the newest position tells that one again, not its own.
    rig.store.submit(Group::Now, move |txn| txn.set_asset(&at(200))).await.unwrap();
    rig.event(1, Kind::Fix, "{}").await;
    assert_eq!(client.until("delta").await.json()["items"][0]["v"]["ts_ms"], 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_narrowed_stream_carries_only_the_kinds_that_were_asked_for() {
    let rig = Rig::start().await;
    let mut narrow = rig.stream("?items=event", None).await;
    let mut clock = rig.stream("?items=clock", None).await;
    rig.scans(1, 1).await;
    rig.board.post(State::Clock(ClockState { tq: "ntp", ..ClockState::default() }));
    let event = narrow.until("delta").await;
    assert_eq!((event.seqs(), event.json()["items"].as_array().unwrap().len()), (vec![1], 1));
    let state = clock.until("delta").await;
    assert_eq!((state.id.clone(), &state.json()["items"][0]["k"]), (None, &"clock".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_is_told_at_once_when_it_comes_and_again_when_it_is_over() {
    let rig = Rig::start().await;
    let mut client = rig.stream("?items=alarm", None).await;
    assert_eq!(client.said().await.unwrap().event, "hello");
    rig.board.raise(Alarm {
        name: "disk_full".into(),
        severity: Severity::Fault,
        since_ms: 1,
        text: "The disk is full.".into(),
        advice: "Make room.".into(),
        count: 1,
    });
    let put = client.until("delta").await.json();
    assert_eq!((&put["items"][0]["op"], &put["items"][0]["v"]["name"]), (&"put".into(), &"disk_full".into()));
    let mut late = rig.stream("?items=alarm", None).await;
    assert_eq!(late.until("delta").await.json()["items"][0]["v"]["name"], "disk_full");
    rig.board.clear("disk_full");
    let over = client.until("delta").await.json();
    assert_eq!((&over["items"][0]["op"], &over["items"][0]["v"]["name"]), (&"del".into(), &"disk_full".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_says_goodbye_and_is_gone_within_two_seconds() {
    let mut rig = Rig::start().await;
    let mut client = rig.stream("", None).await;
    assert_eq!(client.said().await.unwrap().event, "hello");
    let begun = rig.clock.now().mono_us;
    rig.stop().await;
    assert!(rig.clock.now().mono_us - begun < 2_500_000);
    let bye = client.until("bye").await.json();
    assert_eq!(bye["reason"], "shutdown");
    assert!(bye["retry_ms"].as_i64().unwrap() > 0);
    assert_eq!(client.said().await, None);
    assert!(!rig.control.exists());
}
