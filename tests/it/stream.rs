//! The stream as a page or a script follows it: resumed from any cursor, refused for garbage, ended with a word.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::bench::{Node, Pty, Site, Stream, dice, http, wait_for};

/// A scanner whose every read is an event, without a place so that nothing else is.
fn door(site: &Site) -> String {
    format!("[[scanner]]\nid = \"door-3\"\nport = \"{}\"\nrepeat_window_ms = 0\n\n", site.path("door-3").display())
}

fn total(node: &Node) -> i64 {
    node.ledger()["events"]["total"].as_i64().unwrap()
}

/// The events of a message, which are of one order: seq by seq.
fn events(items: &Value) -> Vec<(i64, String)> {
    let items = items.as_array().into_iter().flatten().filter(|item| item["k"] == "event");
    items.map(|item| (item["v"]["seq"].as_i64().unwrap(), item["v"]["code"].as_str().unwrap().into())).collect()
}

/// Raises a flag when it is dropped.
struct Raised<'a>(&'a AtomicBool);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
pub fn a_stream_that_is_cut_a_hundred_times_while_scans_arrive_misses_and_repeats_nothing() {
    let site = Site::new();
    let mut door3 = Pty::new(&site.path("door-3"));
    site.configure(&door(&site));
    let node = site.start();
    let mut stream = Stream::open(node.address(), "/api/v1/stream", "");
    let mut cursor = stream.next().unwrap().data["cursor"].as_str().unwrap().to_owned();
    let (fed, mut roll) = (AtomicBool::new(false), dice(20_261_121));
    let mut seen = Vec::new();
    let sent = std::thread::scope(|scope| {
        // However this ends, the feeder ends with it.
        let over = Raised(&fed);
        let feeder = scope.spawn(|| {
            let mut n = 0;
            while !fed.load(Ordering::Relaxed) {
                n += 1;
                door3.write(format!("TRL-{n}\r\n").as_bytes());
                std::thread::park_timeout(Duration::from_millis(2));
            }
            n
        });
        for cut in 0..100 {
            // Of the messages that come next some are read and one is lost on the way.
            for _ in 0..roll(6) {
                let message = stream.next().unwrap();
                assert_ne!(message.event, "reset", "{message:?}");
                let of_it = events(&message.data["items"]);
                assert!(of_it.len() <= 256 && of_it.is_empty() == message.id.is_none(), "{message:?}");
                seen.extend(of_it);
                if let Some(id) = message.id {
                    cursor = id;
                }
            }
            drop(stream);
            // More arrives while nobody is connected.
            let before = total(&node);
            let gap = i64::try_from(roll(40)).unwrap();
            wait_for("events without a stream", || (total(&node) >= before + gap).then_some(()));
            stream = match cut % 2 {
                0 => Stream::open(node.address(), &format!("/api/v1/stream?after={cursor}"), ""),
                _ => Stream::open(node.address(), "/api/v1/stream", &format!("Last-Event-ID: {cursor}\r\n")),
            };
            let hello = stream.next().unwrap();
            assert_eq!((hello.event.as_str(), hello.id), ("hello", None));
            assert_eq!(hello.data["cursor"], cursor.as_str(), "the greeting says where the stream goes on");
        }
        drop(over);
        let sent = feeder.join().unwrap();
        while seen.len() < sent {
            seen.extend(events(&stream.next().unwrap().data["items"]));
        }
        sent
    });
    let first = seen[0].0;
    for (n, (seq, code)) in seen.iter().enumerate() {
        assert_eq!((*seq, code.as_str()), (first + i64::try_from(n).unwrap(), format!("TRL-{}", n + 1).as_str()));
    }
    assert_eq!(total(&node), seen[sent - 1].0);
    assert!(node.stop().success());
}

#[test]
fn the_header_of_a_browser_that_reconnects_goes_before_the_address_it_began_with() {
    let site = Site::new();
    let mut door3 = Pty::new(&site.path("door-3"));
    site.configure(&door(&site));
    let node = site.start();
    let start = node.json("/api/v1/snapshot")["cursor"].as_str().unwrap().to_owned();
    let mut stream = node.stream(Some(&start));
    door3.write(b"A\r\nB\r\n");
    stream.event("A", |event| event["code"] == "A");
    stream.event("B", |event| event["code"] == "B");
    let after_b = stream.cursor.clone().unwrap();
    door3.write(b"C\r\n");
    let mut again = Stream::open(
        node.address(),
        &format!("/api/v1/stream?after={start}"),
        &format!("Last-Event-ID: {after_b}\r\n"),
    );
    assert_eq!(again.event("the next", |_| true)["code"], "C");
}

#[test]
pub fn a_cursor_of_another_store_is_answered_with_a_reset_and_then_the_present() {
    let site = Site::new();
    let mut door3 = Pty::new(&site.path("door-3"));
    site.configure(&door(&site));
    let node = site.start();
    let mut stream = node.stream(Some("00000000deadbeef.7"));
    let hello = stream.next().unwrap();
    assert_eq!(hello.event, "hello");
    let reset = stream.next().unwrap();
    assert_eq!((reset.event.as_str(), reset.data["reason"].as_str()), ("reset", Some("epoch")));
    let head = node.json("/api/v1/snapshot")["cursor"].clone();
    assert_eq!(hello.data["cursor"], head);
    let ahead = format!("{}.999999", head.as_str().unwrap().split_once('.').unwrap().0);
    let mut ahead = node.stream(Some(&ahead));
    ahead.next();
    assert_eq!(ahead.next().unwrap().event, "reset", "a cursor that is ahead is of a store that was rolled back");
    door3.write(b"A\r\n");
    assert_eq!(stream.event("what comes after a reset", |_| true)["code"], "A");
}

#[test]
fn more_events_than_a_page_can_take_are_answered_with_a_reset_and_not_replayed() {
    let site = Site::new();
    let mut door3 = Pty::new(&site.path("door-3"));
    site.configure(&door(&site));
    let node = site.start();
    let start = node.json("/api/v1/snapshot")["cursor"].as_str().unwrap().to_owned();
    let codes: String = (0..5_001).map(|n| format!("T{n}\r\n")).collect();
    door3.write(codes.as_bytes());
    wait_for("5,001 events", || (total(&node) >= 5_001).then_some(()));
    let mut stream = node.stream(Some(&start));
    assert_eq!(stream.next().unwrap().event, "hello");
    let reset = stream.next().unwrap();
    assert_eq!((reset.event.as_str(), reset.data["reason"].as_str()), ("reset", Some("too_many")));
    let (epoch, seq) = start.split_once('.').unwrap();
    let next = format!("{epoch}.{}", seq.parse::<i64>().unwrap() + 1);
    let mut stream = node.stream(Some(&next));
    let mut seen = Vec::new();
    while seen.len() < 5_000 {
        let message = stream.next().unwrap();
        assert_ne!(message.event, "reset", "5,000 events are replayed");
        seen.extend(events(&message.data["items"]));
    }
    assert!(seen.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1));
}

#[test]
pub fn garbage_for_a_cursor_is_refused_and_says_what_a_cursor_is() {
    let site = Site::new();
    site.configure("");
    let node = site.start();
    for garbage in ["?after=garbage", "?after=.", "?after=1.-1", "?items=event,nonsense", "?after=%ff"] {
        let (status, body) = node.get(&format!("/api/v1/stream{garbage}"));
        assert_eq!(status, 400, "{garbage}: {body}");
        let error: Value = serde_json::from_str(&body).unwrap();
        assert!(!error["error"]["hint"].as_str().unwrap().is_empty(), "{garbage}: {body}");
    }
    let (status, body) = http(node.address(), "/api/v1/stream", "Last-Event-ID: garbage\r\n").unwrap();
    assert_eq!(status, 400, "{body}");
}

#[test]
fn a_stream_that_asks_for_events_only_hears_of_nothing_else() {
    let site = Site::new();
    let mut door3 = Pty::new(&site.path("door-3"));
    site.configure(&door(&site));
    let node = site.start();
    let mut stream = Stream::open(node.address(), "/api/v1/stream?items=event", "");
    assert_eq!(stream.next().unwrap().event, "hello");
    for n in 0..20 {
        door3.write(format!("T{n}\r\n").as_bytes());
        let message = loop {
            let message = stream.next().unwrap();
            if message.event != "hb" {
                break message;
            }
        };
        let kinds: Vec<_> = message.data["items"].as_array().unwrap().iter().map(|item| item["k"].clone()).collect();
        assert!(kinds.iter().all(|kind| kind == "event"), "{kinds:?}");
    }
}

#[test]
fn a_quiet_stream_beats_and_says_goodbye_when_the_node_stops() {
    let site = Site::new();
    site.configure("");
    let mut node = site.start();
    let mut stream = node.stream(None);
    assert_eq!(stream.next().unwrap().event, "hello");
    let beat = std::iter::from_fn(|| stream.next()).find(|message| message.event == "hb").unwrap();
    assert!(beat.id.is_none() && beat.data["t"].is_i64(), "{beat:?}");
    node.signal(libc::SIGTERM);
    let bye = std::iter::from_fn(|| stream.next()).find(|message| message.event == "bye").unwrap();
    assert_eq!(bye.data["reason"], "shutdown");
    assert!(bye.data["retry_ms"].as_i64().unwrap() > 0);
    assert!(stream.next().is_none(), "nothing follows a goodbye");
    assert_eq!(node.ended().code(), Some(0));
}

#[test]
pub fn a_stream_that_is_not_read_holds_up_no_other() {
    let site = Site::new();
    let mut door3 = Pty::new(&site.path("door-3"));
    site.configure(&door(&site));
    let node = site.start();
    let stalled: Vec<Stream> = (0..8).map(|_| node.stream(None)).collect();
    let mut read = node.stream(None);
    for n in 0..300 {
        let code = format!("T{n}-{}", "x".repeat(900));
        door3.write(format!("{code}\r\n").as_bytes());
        read.event("the scan", |event| event["code"] == code.as_str());
    }
    drop(stalled);
    assert!(node.stop().success());
}

#[test]
fn a_stream_too_many_is_sent_away_with_a_time_to_come_back() {
    let site = Site::new();
    site.configure("");
    let text = std::fs::read_to_string(site.config()).unwrap().replace("[http]\n", "[http]\nmax_streams = 2\n");
    std::fs::write(site.config(), text).unwrap();
    let node = site.start();
    let held = [node.stream(None), node.stream(None)];
    let mut third = node.stream(None);
    let bye = third.next().unwrap();
    assert_eq!((bye.event.as_str(), bye.data["reason"].as_str()), ("bye", Some("full")));
    assert!(bye.data["retry_ms"].as_i64().unwrap() > 0 && third.next().is_none());
    drop(held);
    wait_for("a seat that is free again", || {
        let mut stream = node.stream(None);
        (stream.next().unwrap().event == "hello").then_some(())
    });
}
