//! TCP in both directions, on real sockets.

use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinSet, yield_now};

use super::rig::{Rig, spec, within};
use super::{CONNECTIONS_MAX, Conn, Input, Lost, SourceSpec};
use crate::config::{Network, Port};
use crate::health::SourceCondition;

fn listener(reply: bool) -> SourceSpec {
    let mut spec = spec("scanner", Port::TcpListen("127.0.0.1:0".parse().unwrap()));
    spec.reply = reply;
    spec
}

async fn connect(rig: &Rig) -> TcpStream {
    TcpStream::connect(rig.bound().await).await.unwrap()
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    within("the end of the stream", stream.read_to_string(&mut text)).await.unwrap();
    text
}

#[tokio::test]
async fn replies_arrive_in_order_also_after_the_peer_has_closed_its_side() {
    let mut rig = Rig::start(listener(true));
    rig.shows(SourceCondition::Up).await;
    let mut peer = connect(&rig).await;
    let (conn, from, reply) = rig.opened().await;
    assert_eq!(from, Some(peer.local_addr().unwrap()));
    let reply = reply.unwrap();
    peer.write_all(b"A\rB\r").await.unwrap();
    peer.shutdown().await.unwrap();
    assert_eq!(rig.bytes().await, (conn, b"A\rB\r".to_vec()));
    assert_eq!(rig.lost().await, (conn, Lost::Eof));
    let mut replies = JoinSet::new();
    replies.spawn(async move {
        for n in 0..3000 {
            reply.send(format!("ok {n}{}", if n % 2 == 0 { "\n" } else { "" })).await.unwrap();
        }
    });
    let expected: String = (0..3000).map(|n| format!("ok {n}\n")).collect();
    assert_eq!(read_all(&mut peer).await, expected);
}

#[tokio::test]
async fn a_connection_ends_when_the_intake_that_answered_it_is_gone() {
    let mut rig = Rig::start(listener(true));
    let mut peer = connect(&rig).await;
    let (conn, _, reply) = rig.opened().await;
    let reply = reply.unwrap();
    peer.write_all(b"A\rB\r").await.unwrap();
    assert_eq!(rig.bytes().await, (conn, b"A\rB\r".to_vec()));
    reply.send("ok 1".to_owned()).await.unwrap();
    drop(reply);
    assert_eq!(rig.lost().await, (conn, Lost::Io("the intake gives no more replies".to_owned())));
    assert_eq!(read_all(&mut peer).await, "ok 1\n");
    connect(&rig).await;
    assert_ne!(rig.opened().await.0, conn);
}

#[tokio::test]
async fn a_peer_outside_the_allowed_networks_is_refused_without_a_word() {
    let mut spec = listener(false);
    spec.allow = vec![Network { addr: "10.0.0.0".parse().unwrap(), bits: 8 }];
    let mut rig = Rig::start(spec);
    let mut stranger = connect(&rig).await;
    assert_eq!(read_all(&mut stranger).await, "");
    match rig.next().await {
        Input::Refused { peer, text, .. } => {
            assert_eq!(peer, stranger.local_addr().unwrap());
            assert!(text.contains("`allow`"));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_seventeenth_connection_is_refused_in_words_until_a_silent_one_gives_way() {
    let mut rig = Rig::start(listener(false));
    let mut peers = Vec::new();
    for n in 0..CONNECTIONS_MAX {
        let mut peer = connect(&rig).await;
        let (conn, ..) = rig.opened().await;
        if n > 0 {
            peer.write_all(b"A\r").await.unwrap();
            assert_eq!(rig.bytes().await.0, conn);
        }
        peers.push(peer);
    }
    let mut one_more = connect(&rig).await;
    // What it has sent must not take the words back.
    one_more.write_all(b"unread\r").await.unwrap();
    assert_eq!(read_all(&mut one_more).await, "busy: 16 connections are open\n");
    assert!(matches!(rig.next().await, Input::Refused { text: "busy: 16 connections are open", .. }));

    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(31)).await;
    tokio::time::resume();
    let mut late = connect(&rig).await;
    late.write_all(b"B\r").await.unwrap();
    let mut lost = None;
    let mut got = false;
    while lost.is_none() || !got {
        match rig.next().await {
            Input::Lost { conn, why, .. } => lost = Some((conn, why)),
            Input::Bytes { bytes, .. } => got = bytes == b"B\r",
            Input::Opened { .. } => {}
            other @ (Input::Refused { .. } | Input::Quiet { .. }) => panic!("{other:?}"),
        }
    }
    assert_eq!(lost, Some((Conn(1), Lost::Idle)));
    assert_eq!(read_all(&mut peers[0]).await, "");
}

#[tokio::test]
async fn a_peer_that_does_not_read_its_replies_is_let_go_and_others_go_on() {
    let mut rig = Rig::start(listener(true));
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut deaf = socket.connect(rig.bound().await).await.unwrap();
    let (deaf_conn, _, reply) = rig.opened().await;
    let reply = reply.unwrap();
    let watched = reply.downgrade();
    let mut replies = JoinSet::new();
    replies.spawn(async move {
        let line = "x".repeat(16_384);
        while reply.send(line.clone()).await.is_ok() {}
    });
    within("a full channel", async {
        while watched.upgrade().is_some_and(|reply| reply.capacity() > 0) {
            yield_now().await;
        }
    })
    .await;
    // The read that was under way ends, then its reading rests; another peer's does not.
    deaf.write_all(b"UNDER WAY\r").await.unwrap();
    assert_eq!(rig.bytes().await, (deaf_conn, b"UNDER WAY\r".to_vec()));
    deaf.write_all(b"NOT READ\r").await.unwrap();
    let mut other = connect(&rig).await;
    let (other_conn, _, other_reply) = rig.opened().await;
    other.write_all(b"A\r").await.unwrap();
    assert_eq!(rig.bytes().await, (other_conn, b"A\r".to_vec()));
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::time::resume();
    assert_eq!(rig.lost().await, (deaf_conn, Lost::SlowReader));
    within("the end of the replies", replies.join_next()).await;
    other_reply.unwrap().send("ok".into()).await.unwrap();
    let mut line = String::new();
    within("a reply", BufReader::new(&mut other).read_line(&mut line)).await.unwrap();
    assert_eq!(line, "ok\n");
}

#[tokio::test]
async fn a_stop_ends_reading_first_and_then_writes_the_replies_that_are_due() {
    let mut rig = Rig::start(listener(true));
    let mut peer = connect(&rig).await;
    let (conn, _, reply) = rig.opened().await;
    peer.write_all(b"ONE\r").await.unwrap();
    assert_eq!(rig.bytes().await.1, b"ONE\r");
    rig.stop.cancel();
    assert_eq!(rig.lost().await, (conn, Lost::Stopped));
    peer.write_all(b"TWO\r").await.unwrap();
    let reply = reply.unwrap();
    reply.send("ok 1".into()).await.unwrap();
    drop(reply);
    let mut line = String::new();
    within("the reply", BufReader::new(&mut peer).read_line(&mut line)).await.unwrap();
    assert_eq!(line, "ok 1\n");
    assert!(rig.ended().await.is_ok());
    assert!(rig.rx.try_recv().is_err(), "nothing was read after the stop");
}

#[tokio::test]
async fn a_stop_waits_no_longer_than_its_limit_for_replies_that_never_come() {
    let mut rig = Rig::start(listener(true));
    let _peer = connect(&rig).await;
    let (_, _, _kept) = rig.opened().await;
    let began = Instant::now();
    rig.stop.cancel();
    assert!(rig.ended().await.is_ok());
    assert!(began.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn a_client_connects_again_after_its_peer_has_closed() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = server.local_addr().unwrap().port();
    let mut rig = Rig::start(spec("gps", Port::Tcp("127.0.0.1".into(), port)));
    for _ in 0..2 {
        let (mut stream, _) = within("a connection", server.accept()).await.unwrap();
        let (conn, peer, _) = rig.opened().await;
        assert_eq!(peer, Some(server.local_addr().unwrap()));
        stream.write_all(b"$GP").await.unwrap();
        assert_eq!(rig.bytes().await, (conn, b"$GP".to_vec()));
        drop(stream);
        assert_eq!(rig.lost().await, (conn, Lost::Eof));
        rig.shows(SourceCondition::Absent).await;
    }
}

#[tokio::test]
async fn gpsd_is_asked_to_send() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = server.local_addr().unwrap().port();
    let _rig = Rig::start(spec("gps", Port::Gpsd("127.0.0.1".into(), port, None)));
    let (stream, _) = within("a connection", server.accept()).await.unwrap();
    let mut line = String::new();
    within("the wish", BufReader::new(stream).read_line(&mut line)).await.unwrap();
    assert_eq!(line, "?WATCH={\"enable\":true,\"json\":true};\n");
}

#[tokio::test]
async fn an_address_in_use_is_said_with_what_helps_and_taken_when_it_is_free() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let rig = Rig::start(spec("scanner", Port::TcpListen(taken.local_addr().unwrap())));
    assert!(rig.shows(SourceCondition::Absent).await.advice.contains("has this port"));
    drop(taken);
    rig.shows(SourceCondition::Up).await;
}

/// Goal: with `reply` the pace is the intake's, not 5,000 a second. Method: eight peers push, the intake only counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_replying_connections_pass_more_than_twenty_thousand_lines_a_second() {
    const LINES: usize = 10_000;
    let mut rig = Rig::start(listener(true));
    let addr = rig.bound().await;
    let mut peers = JoinSet::new();
    let began = Instant::now();
    for _ in 0..8 {
        peers.spawn(async move {
            let (from, mut to) = TcpStream::connect(addr).await.unwrap().into_split();
            let text = b"(00)376104250021234569\r".repeat(LINES);
            let mut lines = BufReader::new(from).lines();
            let read = async {
                let mut n = 0;
                while n < LINES && lines.next_line().await.unwrap().is_some() {
                    n += 1;
                }
                n
            };
            let (written, n) = tokio::join!(to.write_all(&text), read);
            written.unwrap();
            n
        });
    }
    let mut replies = std::collections::HashMap::new();
    let mut answered = 0;
    while answered < 8 * LINES {
        match rig.next().await {
            Input::Opened { conn, reply, .. } => {
                replies.insert(conn, reply.unwrap());
            }
            Input::Bytes { conn, bytes, .. } => {
                for _ in bytes.iter().filter(|byte| **byte == b'\r') {
                    replies[&conn].send("ok 0123456789abcdef0123456789abcdef".into()).await.unwrap();
                    answered += 1;
                }
            }
            Input::Lost { why: Lost::Eof, .. } => {}
            other => panic!("{other:?}"),
        }
    }
    while let Some(n) = within("all replies", peers.join_next()).await {
        assert_eq!(n.unwrap(), LINES);
    }
    let per_s = 80_000.0 / began.elapsed().as_secs_f64();
    eprintln!("{per_s:.0} lines/s with replies");
    assert!(per_s > 20_000.0, "{per_s:.0} lines/s");
}

#[tokio::test]
async fn silence_is_told_once_and_only_after_bytes() {
    let mut spec = listener(false);
    spec.quiet_after = Some(Duration::from_millis(20));
    let mut rig = Rig::start(spec);
    let mut peer = connect(&rig).await;
    let (conn, ..) = rig.opened().await;
    for piece in [b"AB", b"CD"] {
        peer.write_all(piece).await.unwrap();
        assert_eq!(rig.bytes().await, (conn, piece.to_vec()), "no silence was told before");
        assert!(matches!(rig.next().await, Input::Quiet { conn: from, .. } if from == conn));
    }
}
