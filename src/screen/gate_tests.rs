use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::domain::Stamp;

const MIN_MS: i64 = 60_000;
const RIGHT: &str = "246813";

fn write(file: &Path, pin: &str) {
    std::fs::write(file, pin).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o640)).unwrap();
}

async fn gate() -> (Gate, Clock, PathBuf, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pin");
    write(&file, "246813\n");
    let clock = Clock::manual(Stamp { wall_ms: 0, mono_us: 5_000_000 });
    let gate = Gate::new(file.clone(), clock.clone());
    assert!(gate.look().await.unwrap());
    (gate, clock, file, dir)
}

fn opened(gate: &Gate) -> String {
    let Said::Open(secret) = gate.hear(RIGHT).unwrap() else { panic!("the right PIN is heard") };
    assert_eq!(secret.len(), 32);
    secret
}

#[tokio::test]
async fn five_wrong_pins_close_the_gate_for_longer_each_time_and_the_right_one_does_not_open_it_then() {
    let (gate, clock, ..) = gate().await;
    for minutes in [15, 30, 60, 120, 240, 240] {
        for left in [4, 3, 2, 1] {
            assert_eq!(gate.hear("000000").unwrap(), Said::Wrong(left));
        }
        assert_eq!(gate.hear("000000").unwrap(), Said::Closing(minutes * 60));
        clock.advance_ms(minutes * MIN_MS - 1);
        assert_eq!(gate.hear(RIGHT).unwrap(), Said::Closed(1));
        clock.advance_ms(1);
    }
    opened(&gate);
    // The right one forgives what was wrong before.
    (0..4).for_each(|_| drop(gate.hear("1").unwrap()));
    assert_eq!(gate.hear("").unwrap(), Said::Closing(15 * 60));
}

#[tokio::test]
async fn a_clock_that_is_set_opens_no_gate_and_ends_no_session() {
    let (gate, clock, ..) = gate().await;
    let secret = opened(&gate);
    (0..5).for_each(|_| drop(gate.hear("000000").unwrap()));
    clock.set_wall_ms(4_000_000_000_000);
    assert_eq!(gate.hear(RIGHT).unwrap(), Said::Closed(15 * 60));
    assert_eq!(gate.holds(&secret), Some(8 * 3600));
}

#[tokio::test]
async fn a_session_ends_after_eight_hours_when_it_is_ended_and_when_the_pin_changes() {
    let (gate, clock, file, _dir) = gate().await;
    let (first, second) = (opened(&gate), opened(&gate));
    assert_ne!(first, second);
    clock.advance_ms(8 * 60 * MIN_MS - 1);
    assert_eq!(gate.holds(&first), Some(1));
    gate.end(&second);
    assert_eq!((gate.holds(&first), gate.holds(&second), gate.holds("")), (Some(1), None, None));
    clock.advance_ms(1);
    assert_eq!(gate.holds(&first), None);
    let third = opened(&gate);
    (0..5).for_each(|_| drop(gate.hear("000000").unwrap()));
    write(&file, "111222333");
    assert!(gate.look().await.unwrap());
    assert_eq!(gate.holds(&third), None);
    // And a new PIN opens what was closed.
    let Said::Open(fourth) = gate.hear("111222333").unwrap() else { panic!("the new PIN is heard") };
    assert!(gate.look().await.unwrap());
    assert!(gate.holds(&fourth).is_some(), "a look alone ends nothing");
    // The same PIN, put in its place again as `waypost pin set` does, ends sessions too, and opens what is closed.
    (0..5).for_each(|_| drop(gate.hear("000000").unwrap()));
    write(&file.with_extension("new"), "111222333");
    std::fs::rename(file.with_extension("new"), &file).unwrap();
    assert!(gate.look().await.unwrap());
    assert_eq!(gate.holds(&fourth), None);
    assert!(matches!(gate.hear("111222333").unwrap(), Said::Open(_)));
    std::fs::remove_file(&file).unwrap();
    assert!(!gate.look().await.unwrap());
    assert_eq!(gate.hear("111222333").unwrap(), Said::NoPin);
}

#[tokio::test]
async fn a_pin_that_becomes_readable_by_others_opens_nothing_any_more() {
    let (gate, _, file, _dir) = gate().await;
    let secret = opened(&gate);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(gate.look().await.is_err());
    assert_eq!((gate.holds(&secret), gate.hear(RIGHT).unwrap()), (None, Said::NoPin));
}

#[tokio::test]
async fn sessions_are_bounded_and_the_oldest_goes() {
    let (gate, ..) = gate().await;
    let all: Vec<String> = (0..=SESSIONS_MAX).map(|_| opened(&gate)).collect();
    assert_eq!((gate.holds(&all[0]), gate.book().sessions.len()), (None, SESSIONS_MAX));
    assert!(all[1..].iter().all(|secret| gate.holds(secret).is_some()));
}

#[tokio::test]
async fn tries_at_the_same_time_are_counted_one_after_another() {
    let (gate, ..) = gate().await;
    let said: Vec<Said> = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..32).map(|_| scope.spawn(|| gate.hear("000000").unwrap())).collect();
        tries.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(said.iter().filter(|said| matches!(said, Said::Wrong(_))).count(), 4);
    assert_eq!(said.iter().filter(|said| matches!(said, Said::Closing(_))).count(), 1);
    assert_eq!(said.iter().filter(|said| matches!(said, Said::Closed(_))).count(), 27);
}
