//! Ttys, files and datagrams, on real ones.

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;

use super::rig::{Pty, Rig, open_on, spec, within};
use super::{Input, Lost};
use crate::config::{Network, Port};
use crate::domain::Reason;
use crate::health::SourceCondition;

#[tokio::test]
async fn bytes_of_a_tty_arrive_with_the_instant_of_their_read() {
    let mut pty = Pty::new();
    let mut rig = Rig::start(spec("scanner", Port::Serial(pty.path.clone())));
    let (conn, peer, reply) = rig.opened().await;
    assert!(peer.is_none() && reply.is_none());
    rig.shows(SourceCondition::Up).await;
    let before = crate::clock::Clock::system().now();
    pty.say(b"ABC\r");
    let Input::Bytes { conn: from, bytes, at, peer: None, .. } = rig.next().await else { panic!("no bytes") };
    assert_eq!((from, bytes.as_slice()), (conn, b"ABC\r".as_slice()));
    assert!(at.mono_us >= before.mono_us && at.mono_us <= crate::clock::Clock::system().now().mono_us);
}

#[tokio::test]
async fn a_port_that_vanishes_is_closed_before_waiting_and_opened_again_under_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("gps0");
    let mut first = Pty::new();
    symlink(&first.path, &link).unwrap();
    let mut rig = Rig::start(spec("gps", Port::Serial(link.clone())));
    let (one, ..) = rig.opened().await;
    first.say(b"last words");
    assert_eq!(rig.bytes().await, (one, b"last words".to_vec()));
    // Held so that no other test gets the same number meanwhile.
    let held = std::fs::File::open(&first.path).unwrap();
    assert_eq!(open_on(&first.path), 2);
    std::fs::remove_file(&link).unwrap();
    drop(first.master);
    assert_eq!(rig.lost().await, (one, Lost::Eof));
    let turns = rig.beat.turns();
    rig.shows(SourceCondition::Absent).await;
    assert_eq!(open_on(&first.path), 1, "only ours is still open");
    let mut second = Pty::new();
    symlink(&second.path, &link).unwrap();
    let (two, ..) = rig.opened().await;
    assert_ne!(one, two);
    assert!(rig.beat.turns() - turns < 40, "it waits, it does not spin");
    second.say(b"back");
    assert_eq!(rig.bytes().await, (two, b"back".to_vec()));
    rig.shows(SourceCondition::Up).await;
    drop(held);
}

#[tokio::test]
async fn a_tty_is_ours_alone() {
    let pty = Pty::new();
    let mut rig = Rig::start(spec("scanner", Port::Serial(pty.path.clone())));
    rig.opened().await;
    let other = Rig::start(spec("scanner", Port::Serial(pty.path.clone())));
    let state = other.shows(SourceCondition::Busy).await;
    assert!(state.advice.contains("Another program holds"), "{}", state.advice);
    assert!(state.advice.contains("sudo waypost doctor"), "{}", state.advice);
    rig.stop.cancel();
    rig.lost().await;
    assert!(rig.ended().await.is_ok());
    other.shows(SourceCondition::Up).await;
}

#[test]
fn a_tty_that_the_service_may_not_open_says_permission_and_how_to_claim_it() {
    let pty = Pty::new();
    let path = pty.path.clone();
    let state = std::thread::spawn(move || {
        // SAFETY: the bare system call changes this thread only; it ends with the test.
        unsafe {
            let nobody = 65_534;
            if libc::geteuid() == 0 {
                assert_eq!(libc::syscall(libc::SYS_setresuid, nobody, nobody, nobody), 0);
            } else {
                let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
                assert_eq!(libc::chmod(name.as_ptr(), 0), 0);
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let rig = Rig::start(spec("scanner", Port::Serial(path)));
            rig.shows(SourceCondition::Permission).await
        })
    })
    .join()
    .unwrap();
    let claim = format!("sudo waypost devices claim s1 {}", pty.path.display());
    assert!(state.advice.contains(&claim), "{}", state.advice);
}

#[test]
fn a_port_that_udev_has_not_given_to_us_yet_is_tried_again_before_that_is_said() {
    let pty = Pty::new();
    let mode = |mode| std::fs::set_permissions(&pty.path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    mode(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // SAFETY: the bare system call changes this thread only, which ends with the test; root may open everything.
            unsafe {
                if libc::geteuid() == 0 {
                    let name = std::ffi::CString::new(pty.path.to_str().unwrap()).unwrap();
                    assert_eq!(libc::chown(name.as_ptr(), 65_534, u32::MAX), 0);
                    assert_eq!(libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534), 0);
                }
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut rig = Rig::start(spec("scanner", Port::Serial(pty.path.clone())));
                let tries = async {
                    while rig.beat.turns() < 6 {
                        assert_ne!(rig.state().state, SourceCondition::Permission);
                        tokio::task::yield_now().await;
                    }
                };
                within("some tries", tries).await;
                mode(0o600);
                rig.opened().await;
            });
        });
    });
}

#[tokio::test]
async fn an_odd_baud_rate_is_set_as_configured() {
    let pty = Pty::new();
    let mut spec = spec("gps", Port::Serial(pty.path.clone()));
    spec.line.baud = Some(250_000);
    let mut rig = Rig::start(spec);
    rig.opened().await;
    assert_eq!(pty.baud(), 250_000);
}

#[tokio::test]
async fn an_unknown_baud_rate_is_searched_on_the_open_port_until_sentences_come() {
    let mut pty = Pty::new();
    let mut spec = spec("gps", Port::Serial(pty.path.clone()));
    spec.line.baud = None;
    let mut rig = Rig::start(spec);
    let mut rates = Vec::new();
    let first = loop {
        match rig.next().await {
            Input::Opened { .. } => rates.push(pty.baud()),
            Input::Lost { why, .. } => assert_eq!(why, Lost::Baud),
            Input::Bytes { .. } if rates.len() == 3 => {
                rig.light.good();
                break Instant::now();
            }
            Input::Bytes { .. } => {
                assert_eq!(open_on(&pty.path), 1, "never closed: that would drop the lines");
                if rates.len() > 1 {
                    assert_eq!(rig.state().state, SourceCondition::Garbage);
                }
                continue;
            }
            other => panic!("{other:?}"),
        }
        // One burst a rate, and silence after it: the end of a try waits for no further bytes.
        pty.say(b"\xff\x00?");
    };
    assert_eq!(rates, [9600, 38_400, 115_200]);
    pty.say(b"$");
    rig.bytes().await;
    rig.shows(SourceCondition::Up).await;
    // Noise for longer than a rate is tried, then a sentence, again and again: the rate stays.
    while first.elapsed() < Duration::from_secs(2) {
        pty.say(&[0xff; 100]);
        rig.bytes().await;
        if first.elapsed().as_millis() % 700 > 600 {
            rig.light.good();
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    assert_eq!(pty.baud(), 115_200);
    // Only noise from now on: the receiver was changed.
    loop {
        pty.say(b"\xff\xff\xff\xff");
        match rig.next().await {
            Input::Lost { why, .. } => break assert_eq!(why, Lost::Baud),
            Input::Bytes { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    rig.opened().await;
    assert_eq!(pty.baud(), 9600, "the search begins with the commonest");
}

#[tokio::test]
async fn a_silent_receiver_is_said_to_be_silent_and_its_port_opened_anew() {
    let mut pty = Pty::new();
    let mut spec = spec("gps", Port::Serial(pty.path.clone()));
    spec.silent_after = Some(Duration::from_millis(100));
    let mut rig = Rig::start(spec);
    let (one, ..) = rig.opened().await;
    rig.shows(SourceCondition::Silent).await;
    assert_eq!(rig.lost().await, (one, Lost::Idle));
    let (two, ..) = rig.opened().await;
    assert_eq!(rig.state().state, SourceCondition::Silent);
    pty.say(b"$");
    assert_eq!(rig.bytes().await, (two, b"$".to_vec()));
    rig.shows(SourceCondition::Up).await;
}

#[tokio::test]
async fn what_an_ended_run_left_open_is_said_to_be_lost_by_the_next() {
    let pty = Pty::new();
    let mut rig = Rig::start(spec("scanner", Port::Serial(pty.path.clone())));
    let (one, ..) = rig.opened().await;
    rig.restart().await;
    assert_eq!(rig.lost().await, (one, Lost::Stopped));
    let (two, ..) = rig.opened().await;
    assert!(two > one);
}

#[tokio::test]
async fn a_file_is_read_once_in_order_at_five_thousand_lines_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("codes");
    let text: String = (0..9_000).map(|n| format!("CODE{n}\r\n")).collect();
    std::fs::write(&path, &text).unwrap();
    let began = Instant::now();
    let mut rig = Rig::start_with_room(spec("scanner", Port::File(path)), 1);
    let (conn, ..) = rig.opened().await;
    assert_eq!(rig.collect(text.len()).await, text.into_bytes());
    assert_eq!(rig.lost().await, (conn, Lost::Eof));
    assert!(rig.ended().await.is_ok());
    assert!(began.elapsed() >= Duration::from_millis(700), "4,000 lines over the first 5,000 take 0.8 s");
    assert_eq!(rig.state().state, SourceCondition::Ended);
}

#[tokio::test]
async fn a_file_that_is_no_file_is_told_apart_from_one_that_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(spec("scanner", Port::File(dir.path().join("none"))));
    assert!(rig.shows(SourceCondition::Absent).await.advice.starts_with("Check the file"));
    let rig = Rig::start(spec("scanner", Port::File("/dev/null".into())));
    assert!(rig.shows(SourceCondition::Absent).await.advice.contains("is no regular file"));
    let rig = Rig::start(spec("scanner", Port::Hid("/dev/null".into())));
    assert!(rig.shows(SourceCondition::Absent).await.advice.contains("no input device"));
}

#[tokio::test]
async fn a_datagram_is_handed_on_with_its_sender_and_a_stranger_is_refused() {
    let allow = Network { addr: "127.0.0.2".parse().unwrap(), bits: 32 };
    let mut spec = spec("gps", Port::UdpListen("0.0.0.0:0".parse().unwrap()));
    spec.allow = vec![allow];
    spec.silent_after = Some(Duration::from_millis(100));
    let mut rig = Rig::start(spec);
    let to = ("127.0.0.1", rig.bound().await.port());
    let (conn, ..) = rig.opened().await;
    let friend = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    let stranger = UdpSocket::bind("127.0.0.3:0").await.unwrap();
    stranger.send_to(b"let me in", to).await.unwrap();
    match rig.next().await {
        Input::Refused { peer, why, .. } => {
            assert_eq!((peer, why), (stranger.local_addr().unwrap(), Reason::NotAllowed));
        }
        other => panic!("{other:?}"),
    }
    friend.send_to(&[], to).await.unwrap();
    friend.send_to(&[7; 5000], to).await.unwrap();
    for n in [4096, 904] {
        match rig.next().await {
            Input::Bytes { conn: from, bytes, peer, .. } => {
                assert_eq!((from, bytes.len(), peer), (conn, n, Some(friend.local_addr().unwrap())));
            }
            other => panic!("{other:?}"),
        }
    }
    rig.shows(SourceCondition::Silent).await;
    rig.stop.cancel();
    assert_eq!(rig.lost().await, (conn, Lost::Stopped));
    assert!(rig.ended().await.is_ok());
    assert_eq!(*rig.spec.bound.borrow(), None);
}

#[tokio::test]
async fn a_stop_ends_a_source_that_waits_for_its_next_try() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(spec("gps", Port::Serial(dir.path().join("none"))));
    rig.shows(SourceCondition::Absent).await;
    rig.stop.cancel();
    assert!(rig.ended().await.is_ok());
}

#[tokio::test]
async fn a_run_whose_intake_is_gone_ends_with_an_error() {
    let mut pty = Pty::new();
    let mut rig = Rig::start(spec("scanner", Port::Serial(pty.path.clone())));
    rig.opened().await;
    rig.rx.close();
    pty.say(b"A\r");
    assert!(within("the end", rig.ended()).await.unwrap_err().to_string().contains("nobody takes"));
}
