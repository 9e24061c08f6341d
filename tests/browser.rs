//! The page in a real browser on the real binary: each file of `web/tests/browser` is a test here, one after the other, after
//! all other tests of `cargo test`, because a browser wants the machine for itself.

#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// One browser at a time.
static TURN: Mutex<()> = Mutex::new(());

/// What is not here and has to be; none when all is.
fn missing() -> Option<&'static str> {
    let node = Command::new("node").args(["-p", "process.versions.node.split('.')[0] >= 20"]).output();
    if !node.is_ok_and(|said| said.stdout.starts_with(b"true")) {
        return Some("node 20 or newer");
    }
    let chromium = std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".to_owned());
    if !Path::new(&chromium).exists() {
        return Some("chromium (CHROMIUM names another than /usr/bin/chromium)");
    }
    let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/look/node_modules/playwright-core");
    (!driver.exists()).then_some("playwright-core in target/look")
}

/// Plays a file of tests; what it says is shown when it fails.
fn play(file: &str) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(what) = missing() {
        eprintln!("SKIPPED: the page was not tried in a browser: there is no {what}; `make test` installs it");
        return;
    }
    let mut command = Command::new("node");
    command.args(["--test", "--test-reporter=spec", &format!("web/tests/browser/{file}.test.mjs")]);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env("WAYPOST", env!("CARGO_BIN_EXE_waypost"));
    let done = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    println!("{said}{}", String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{file}: see above; alone: cargo test --test browser {file} -- --nocapture");
}

#[test]
fn yard() {
    play("yard");
}

#[test]
fn hands() {
    play("hands");
}

#[test]
fn link() {
    play("link");
}

#[test]
fn attack() {
    play("attack");
}

#[test]
fn budget() {
    play("budget");
}

#[test]
fn soak() {
    play("soak");
}
