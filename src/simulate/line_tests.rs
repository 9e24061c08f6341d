//! Goal: what a reader of a real pty gets is what was asked for. Method: the session runs in the test's own runtime,
//! a thread reads the linked port as a daemon would; rates are high and nothing sleeps.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::Stamp;

use super::sentence::framed;
use super::{
    AtEnd, Device, DeviceArgs, Faults, Gps, GpsArgs, Input, Model, Played, Reads, Scanner, Session, Time, Track,
};

/// Longest that any of these may take.
const DEADLINE: Duration = Duration::from_secs(20);

fn clock() -> Clock {
    Clock::manual(Stamp { mono_us: 0, wall_ms: 1_795_169_472_345 })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

fn log(dir: &Path, epochs: u32) -> PathBuf {
    let path = dir.join("receiver.log");
    let text: Vec<u8> = (0..epochs)
        .flat_map(|n| {
            let time = format!("{:02}{:02}{:02}", n / 3600, n / 60 % 60, n % 60);
            let rmc = framed(&format!("GPRMC,{time},A,5907.48,N,01123.25,E,0.1,,201126,,,A"));
            [rmc, framed(&format!("GPGGA,{time},5907.48,N,01123.25,E,1,09,0.9,12,M,37,M,,"))].concat()
        })
        .collect();
    std::fs::write(&path, text).unwrap();
    path
}

fn gps(dir: &Path, log: PathBuf, faults: &str) -> Gps {
    let (at_end, faults) = (AtEnd::Unplug, faults.parse::<Faults>().unwrap());
    Gps {
        device: Device { link: dir.join("gps0"), repeat: false, at_end, faults, seed: 42 },
        track: Track::Log(Input::File(log)),
        model: Model::Plain,
        time: Time::Now,
        rate_hz: Some(1000.0),
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(path)
}

/// Reads a port until it is pulled, opens it again when `again` and it is back, until `done`.
fn read_all(link: &Path, again: bool, done: &CancellationToken) -> (Vec<u8>, u32) {
    let (mut bytes, mut opened) = (Vec::new(), 0);
    let began = Instant::now();
    while began.elapsed() < DEADLINE {
        if let Ok(mut port) = open(link) {
            opened += 1;
            let mut chunk = [0; 4096];
            while let Ok(n @ 1..) = port.read(&mut chunk) {
                bytes.extend_from_slice(&chunk[..n]);
            }
            if !again {
                break;
            }
        }
        if done.is_cancelled() {
            break;
        }
        thread::yield_now();
    }
    (bytes, opened)
}

/// Plays a session to its end beside a reader.
fn heard(session: Session, again: bool) -> (Vec<u8>, u32, Played) {
    let link = session.link().to_owned();
    let done = CancellationToken::new();
    let ended = done.clone();
    let reader = thread::spawn(move || read_all(&link, again, &ended));
    let played = runtime().block_on(session.run(CancellationToken::new())).unwrap();
    done.cancel();
    let (bytes, opened) = reader.join().unwrap();
    (bytes, opened, played)
}

#[test]
fn a_reader_that_comes_after_the_start_gets_every_byte() {
    let dir = tempfile::tempdir().unwrap();
    let recorded = log(dir.path(), 500);
    let expect = std::fs::read(&recorded).unwrap();
    let gps = Gps { time: Time::Recorded, ..gps(dir.path(), recorded, "") };
    let (bytes, _, played) = heard(gps.plug(clock()).unwrap(), false);
    assert_eq!((played.frames, played.unread), (1000, 0), "{played}");
    assert_eq!(played.sent, u64::try_from(expect.len()).unwrap());
    assert!(bytes == expect, "{} of {} bytes", bytes.len(), expect.len());
}

#[test]
fn a_reader_that_is_behind_at_the_end_gets_every_byte_before_the_plug_is_pulled() {
    let dir = tempfile::tempdir().unwrap();
    let recorded = log(dir.path(), 20);
    let expect = std::fs::read(&recorded).unwrap();
    let session = Gps { time: Time::Recorded, ..gps(dir.path(), recorded, "") }.plug(clock()).unwrap();
    let link = session.link().to_owned();
    let reader = thread::spawn(move || {
        let mut port = open(&link).unwrap();
        // As one that the machine gives no turn: all of it is sent long before.
        let until = Instant::now() + Duration::from_secs(2);
        while Instant::now() < until {
            thread::park_timeout(Duration::from_millis(100));
        }
        let mut bytes = Vec::new();
        // A pulled pty ends with an error, not with an end.
        drop(port.read_to_end(&mut bytes));
        bytes
    });
    let played = runtime().block_on(session.run(CancellationToken::new())).unwrap();
    let bytes = reader.join().unwrap();
    assert_eq!(played.unread, 0, "{played}");
    assert!(bytes == expect, "{} of {} bytes", bytes.len(), expect.len());
}

#[test]
fn the_present_time_comes_with_valid_checksums_and_one_time_an_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let recorded = log(dir.path(), 200);
    let (bytes, _, _) = heard(gps(dir.path(), recorded, "").plug(clock()).unwrap(), false);
    let text = String::from_utf8(bytes).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    assert_eq!(lines.len(), 400);
    let mut last = "";
    for pair in lines.chunks(2) {
        let times: Vec<&str> = pair.iter().map(|line| line.split(',').nth(1).unwrap()).collect();
        assert!(times[0] == times[1] && times[0] > last && times[0].starts_with("10111"), "{pair:?}");
        last = times[0];
        for line in pair {
            assert_eq!(framed(&line[1..line.find('*').unwrap()]), line.as_bytes());
        }
    }
}

#[test]
fn a_seed_spoils_the_same_frames_every_time() {
    let dir = tempfile::tempdir().unwrap();
    let recorded = log(dir.path(), 300);
    let play = |seed| {
        let faults = "noise=0.1,partial=0.1,glue=0.1,checksum=0.1";
        let mut gps = Gps { time: Time::Recorded, ..gps(dir.path(), recorded.clone(), faults) };
        gps.device.seed = seed;
        heard(gps.plug(clock()).unwrap(), false)
    };
    let (first, again, other) = (play(1), play(1), play(2));
    assert!(first.0 == again.0 && first.2 == again.2, "{} {}", first.2, again.2);
    assert!(first.0 != other.0);
    assert!(first.2.spoiled.noise > 20 && first.2.spoiled.checksum > 20, "{}", first.2);
}

#[test]
fn an_unplugged_port_is_gone_and_comes_back_under_its_link() {
    let dir = tempfile::tempdir().unwrap();
    let recorded = log(dir.path(), 1000);
    let session = gps(dir.path(), recorded, "unplug=0.1/0.3").plug(clock()).unwrap();
    let (bytes, opened, played) = heard(session, true);
    assert_eq!(played.unplugged, 3, "{played}");
    assert!(opened >= 2, "opened {opened} times");
    assert!(played.unread > 0 && !bytes.is_empty(), "{played}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "only the log stays");
}

#[tokio::test(start_paused = true)]
async fn a_silence_holds_its_frames_back_and_counts_them() {
    let dir = tempfile::tempdir().unwrap();
    let recorded = log(dir.path(), 100);
    let gps = Gps { rate_hz: Some(1.0), ..gps(dir.path(), recorded, "silence=20/50") };
    let session = gps.plug(clock()).unwrap();
    let _reader = open(session.link()).unwrap();
    let played = session.run(CancellationToken::new()).await.unwrap();
    assert_eq!((played.frames, played.silenced, played.unread), (200, 80, 0), "{played}");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_reads_is_dropped_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let recorded = log(dir.path(), 1000);
    let bytes = std::fs::metadata(&recorded).unwrap().len();
    let gps = Gps { time: Time::Recorded, ..gps(dir.path(), recorded, "") };
    let alone = gps.clone().plug(clock()).unwrap().run(CancellationToken::new()).await.unwrap();
    assert_eq!((alone.sent, alone.unread), (0, bytes));
    let session = gps.plug(clock()).unwrap();
    let _asleep = open(session.link()).unwrap();
    let stuck = session.run(CancellationToken::new()).await.unwrap();
    assert!(stuck.sent > 0 && stuck.unread > 0 && stuck.sent + stuck.unread == bytes, "{stuck}");
}

#[tokio::test(start_paused = true)]
async fn a_held_port_stays_until_it_is_told_to_stop_and_then_its_link_goes() {
    let dir = tempfile::tempdir().unwrap();
    let recorded = log(dir.path(), 3);
    let mut gps = gps(dir.path(), recorded, "");
    gps.device.at_end = AtEnd::Hold;
    let session = gps.plug(clock()).unwrap();
    let link = session.link().to_owned();
    let stop = CancellationToken::new();
    let run = session.run(stop.clone());
    tokio::pin!(run);
    let early = tokio::time::timeout(Duration::from_secs(3600), &mut run).await;
    assert!(early.is_err() && link.is_symlink());
    stop.cancel();
    run.await.unwrap();
    assert!(!link.is_symlink());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_session_takes_its_link_with_it_but_not_anothers() {
    let dir = tempfile::tempdir().unwrap();
    let recorded = log(dir.path(), 3);
    let first = gps(dir.path(), recorded.clone(), "").plug(clock()).unwrap();
    let second = gps(dir.path(), recorded, "").plug(clock()).unwrap();
    drop(first);
    assert_eq!(std::fs::read_link(second.link()).unwrap(), second.tty().unwrap());
    let link = second.link().to_owned();
    drop(second);
    assert!(!link.is_symlink());
}

#[test]
fn a_scanner_is_heard_code_by_code() {
    let dir = tempfile::tempdir().unwrap();
    let (at_end, faults) = (AtEnd::Unplug, Faults::default());
    let scanner = Scanner {
        device: Device { link: dir.path().join("door-3"), repeat: false, at_end, faults, seed: 1 },
        reads: Reads::Codes(Input::Text("00376104250021234569\nTRL-7\\r\\n\n]d201095\\x1d21A")),
        every: Duration::from_millis(1),
        terminator: "\\r".to_owned(),
    };
    let (bytes, _, played) = heard(scanner.plug(clock()).unwrap(), false);
    assert_eq!(bytes, b"00376104250021234569\rTRL-7\r\n]d201095\x1d21A\r");
    assert_eq!((played.frames, played.unread), (3, 0));
}

#[test]
fn a_missing_file_is_said_before_any_port_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let error = gps(dir.path(), dir.path().join("none.log"), "").plug(clock()).err().unwrap();
    assert_eq!(error.exit_code(), 66);
    assert!(error.to_string().contains("none.log"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_command_says_link_tty_and_seed_and_at_the_end_what_was_played() {
    let dir = tempfile::tempdir().unwrap();
    let args = GpsArgs {
        log: Some(log(dir.path(), 2)),
        route: None,
        model: Model::Plain,
        time: Time::Now,
        rate: None,
        device: DeviceArgs {
            link: dir.path().join("gps0"),
            repeat: false,
            at_end: AtEnd::Unplug,
            faults: Faults::default(),
            seed: Some(7),
        },
    };
    let mut out = Vec::new();
    args.run(clock(), CancellationToken::new(), &mut out).await.unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], format!("link {}", dir.path().join("gps0").display()));
    assert!(
        lines[1].starts_with("tty /dev/pts/") && lines[2] == "seed 7" && lines[3].starts_with("4 frames"),
        "{text}"
    );
}

#[test]
fn a_session_can_be_a_worker_of_any_thread() {
    fn movable<T: Send>(_: &T) {}
    let dir = tempfile::tempdir().unwrap();
    let recorded = log(dir.path(), 1);
    movable(&gps(dir.path(), recorded, "").plug(clock()).unwrap().run(CancellationToken::new()));
}

#[tokio::test(start_paused = true)]
async fn a_capture_pulls_the_plug_and_puts_it_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gps0.ring");
    let text = "{\"capture\":1,\"kind\":\"gps\"}\n[0,\"one\"]\n[500,{\"port\":\"lost\"}]\n[700,\"gone\"]\n[900,{\"port\":\"back\"}]\n[1500,\"two\"]\n";
    std::fs::write(&file, text).unwrap();
    let gps = Gps { time: Time::Recorded, rate_hz: None, ..gps(dir.path(), file, "") };
    let session = gps.plug(clock()).unwrap().first_reader(Duration::ZERO);
    let (link, first) = (session.link().to_owned(), session.tty().unwrap().to_owned());
    let _holder = open(&link).unwrap();
    let run = session.run(CancellationToken::new());
    tokio::pin!(run);
    assert!(tokio::time::timeout(Duration::from_millis(600), &mut run).await.is_err());
    assert!(!link.is_symlink(), "it is unplugged");
    assert!(tokio::time::timeout(Duration::from_millis(400), &mut run).await.is_err());
    // Its first line is still held open, so the new one has another number.
    assert_ne!(std::fs::read_link(&link).unwrap(), first);
    let played = run.await.unwrap();
    assert_eq!((played.unplugged, played.sent, played.unread), (1, 3, 7), "{played}");
}
