//! What the service manager is told, in the protocol of `sd_notify(3)`: ready, how it is, alive, about to stop.
//! Without a service manager every call is a quiet no-op.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sd_notify::NotifyState;
use tracing::{info, warn};

use crate::clock::Clock;

/// The line to the service manager. Clones share it.
///
/// The words are those of the `sd-notify` crate; the socket is ours, because the crate's own sending may block for
/// as long as the manager does not read, and the thread that watches everything must not.
#[derive(Clone, Debug)]
pub struct Notify {
    line: Option<Arc<Line>>,
    every: Option<Duration>,
    clock: Clock,
    said: Arc<Mutex<Said>>,
}

#[derive(Debug)]
struct Line {
    socket: UnixDatagram,
    to: SocketAddr,
}

#[derive(Debug, Default)]
struct Said {
    /// What the node says of itself.
    normal: String,
    /// What is wrong with a worker; stands above `normal` while it lasts.
    trouble: Option<String>,
    /// The last STATUS that went out, and when. `CLOCK_BOOTTIME` µs.
    status: Option<(String, i64)>,
    pinged_us: Option<i64>,
    deaf: bool,
}

/// The longest pause between two signs of life.
const PING_MAX: Duration = Duration::from_secs(5);
/// The shortest pause between two STATUS lines. Microseconds.
const STATUS_PAUSE_US: i64 = 1_000_000;
/// The longest STATUS; the journal shows one line of it. Characters.
const STATUS_MAX: usize = 400;
/// How long one message may wait for a manager that does not read.
const SEND_MAX: Duration = Duration::from_millis(100);

impl Notify {
    /// The line that the environment names (`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`); without it, a quiet one.
    #[must_use]
    pub fn from_env(clock: Clock) -> Self {
        let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return Self::quiet(clock) };
        match Self::to(&path, sd_notify::watchdog_enabled(), clock.clone()) {
            Ok(notify) => notify,
            Err(error) => {
                warn!(%error, socket = ?path, "NOTIFY_SOCKET cannot be used; the service manager will not hear of us");
                Self::quiet(clock)
            }
        }
    }

    /// A line to the socket at `path` (`@` begins an abstract name) of a manager that wants a sign of life at least
    /// each `watchdog`.
    ///
    /// # Errors
    /// The path is no address of a socket, or no socket can be made. Whether somebody listens shows with the first
    /// message.
    pub fn to(path: impl AsRef<OsStr>, watchdog: Option<Duration>, clock: Clock) -> io::Result<Self> {
        let path = path.as_ref();
        let to = match path.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(path)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_MAX))?;
        let line = Some(Arc::new(Line { socket, to }));
        Ok(Self { line, every: watchdog.map(|span| (span / 3).min(PING_MAX)), clock, said: Arc::default() })
    }

    /// A line to nobody.
    #[must_use]
    pub fn quiet(clock: Clock) -> Self {
        Self { line: None, every: None, clock, said: Arc::default() }
    }

    /// How often a sign of life goes out: a third of what the manager waits, at most 5 s; none when it does not wait.
    #[must_use]
    pub const fn every(&self) -> Option<Duration> {
        self.every
    }

    /// "The store is open and the screen answers."
    pub fn ready(&self, status: &str) {
        let mut said = self.lock();
        said.normal = one_line(status);
        self.send_with_status(&mut said, &[NotifyState::Ready]);
    }

    /// Says how the node is: at once, or when the last STATUS is a second old; an equal one is not sent again.
    pub fn status(&self, text: &str) {
        let mut said = self.lock();
        said.normal = one_line(text);
        self.flush(&mut said);
    }

    /// Says what is wrong with a worker, above the node's own status, until it is over.
    pub fn trouble(&self, text: Option<&str>) {
        let mut said = self.lock();
        said.trouble = text.map(one_line);
        self.flush(&mut said);
    }

    /// One turn of the supervisor: a sign of life if every beat is fresh and one is due, and a STATUS that waited.
    pub fn turn(&self, fresh: bool) {
        let mut said = self.lock();
        self.flush(&mut said);
        let Some(every) = self.every else { return };
        let now_us = self.clock.now().mono_us;
        let due = said.pinged_us.is_none_or(|last| now_us - last >= micros(every));
        if fresh && due {
            said.pinged_us = Some(now_us);
            self.send(&mut said, &[NotifyState::Watchdog]);
        }
    }

    /// "I need up to `span` more to start or stop." To be said only when work was really done.
    pub fn extend(&self, span: Duration) {
        let usec = u32::try_from(span.as_micros()).unwrap_or(u32::MAX);
        self.send(&mut self.lock(), &[NotifyState::ExtendTimeoutUsec(usec)]);
    }

    /// "I was told to stop and am about it."
    pub fn stopping(&self, status: &str) {
        let mut said = self.lock();
        said.normal = one_line(status);
        self.send_with_status(&mut said, &[NotifyState::Stopping]);
    }

    /// "Kill and restart me": the status says why and stands in the journal beside the kill.
    pub fn trigger(&self, status: &str) {
        let mut said = self.lock();
        said.trouble = Some(one_line(status));
        // The reason goes ahead in a message of its own: the manager acts on the trigger while it reads.
        self.send_with_status(&mut said, &[]);
        self.send(&mut said, &[NotifyState::WatchdogTrigger]);
    }

    fn flush(&self, said: &mut Said) {
        let now_us = self.clock.now().mono_us;
        let waits = match &said.status {
            Some((text, at_us)) => text == said.words() || now_us - at_us < STATUS_PAUSE_US,
            None => said.words().is_empty(),
        };
        if !waits {
            self.send_with_status(said, &[]);
        }
    }

    fn send_with_status(&self, said: &mut Said, first: &[NotifyState]) {
        let words = said.words().to_owned();
        let mut message = first.to_vec();
        message.push(NotifyState::Status(&words));
        self.send(said, &message);
        said.status = Some((words, self.clock.now().mono_us));
    }

    fn send(&self, said: &mut Said, message: &[NotifyState]) {
        let Some(line) = &self.line else { return };
        let text: String = message.iter().map(|state| format!("{state}\n")).collect();
        match line.socket.send_to_addr(text.as_bytes(), &line.to) {
            Ok(_) if said.deaf => {
                said.deaf = false;
                info!("the service manager listens again");
            }
            Ok(_) => {}
            // Said once: the next message is tried all the same, and a lost sign of life is followed by another.
            Err(error) if !said.deaf => {
                said.deaf = true;
                warn!(%error, message = ?text, "the service manager could not be told");
            }
            Err(_) => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        // A panic while holding it leaves whole values behind.
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Said {
    fn words(&self) -> &str {
        self.trouble.as_deref().unwrap_or(&self.normal)
    }
}

/// A text as one STATUS: a line break in it would begin a field of its own.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(STATUS_MAX).collect()
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Stamp;

    /// A service manager's socket and a line to it.
    fn manager(watchdog_ms: u64) -> (tempfile::TempDir, UnixDatagram, Notify, Clock) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let clock = Clock::manual(Stamp::default());
        let notify = Notify::to(&path, Some(Duration::from_millis(watchdog_ms)), clock.clone()).unwrap();
        (dir, socket, notify, clock)
    }

    /// The next message; a datagram that was sent is there at once.
    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 2048];
        socket.recv(&mut bytes).map_or_else(|_| String::new(), |n| String::from_utf8_lossy(&bytes[..n]).into_owned())
    }

    #[test]
    fn ready_and_status_go_out_as_one_datagram() {
        let (_dir, socket, notify, _clock) = manager(30_000);
        notify.ready("2 sources, 0 unsent");
        assert_eq!(heard(&socket), "READY=1\nSTATUS=2 sources, 0 unsent\n");
        notify.stopping("stopping");
        assert_eq!(heard(&socket), "STOPPING=1\nSTATUS=stopping\n");
        notify.extend(Duration::from_secs(7));
        assert_eq!(heard(&socket), "EXTEND_TIMEOUT_USEC=7000000\n");
    }

    #[test]
    fn status_goes_out_on_change_and_at_most_once_a_second() {
        let (_dir, socket, notify, clock) = manager(30_000);
        notify.status("a");
        assert_eq!(heard(&socket), "STATUS=a\n");
        clock.advance_ms(5_000);
        notify.status("a");
        assert_eq!(heard(&socket), "");
        notify.status("b");
        notify.status("c");
        notify.status("d");
        assert_eq!(heard(&socket), "STATUS=b\n");
        assert_eq!(heard(&socket), "");
        clock.advance_ms(1_000);
        notify.turn(false);
        assert_eq!(heard(&socket), "STATUS=d\n");
    }

    #[test]
    fn a_sign_of_life_is_due_each_third_of_the_deadline_and_only_while_all_is_fresh() {
        let (_dir, socket, notify, clock) = manager(3_000);
        assert_eq!(notify.every(), Some(Duration::from_secs(1)));
        notify.turn(true);
        assert_eq!(heard(&socket), "WATCHDOG=1\n");
        clock.advance_ms(999);
        notify.turn(true);
        assert_eq!(heard(&socket), "");
        clock.advance_ms(1);
        notify.turn(false);
        assert_eq!(heard(&socket), "");
        notify.turn(true);
        assert_eq!(heard(&socket), "WATCHDOG=1\n");
        let (_dir, _socket, slow, _clock) = manager(60_000);
        assert_eq!(slow.every(), Some(PING_MAX));
    }

    #[test]
    fn a_trigger_is_told_after_its_reason() {
        let (_dir, socket, notify, _clock) = manager(30_000);
        notify.status("all well");
        assert_eq!(heard(&socket), "STATUS=all well\n");
        notify.trigger("worker writer stalled\nREADY=1");
        assert_eq!(heard(&socket), "STATUS=worker writer stalled READY=1\n");
        assert_eq!(heard(&socket), "WATCHDOG=trigger\n");
    }

    #[test]
    fn trouble_stands_above_the_status_until_it_is_over() {
        let (_dir, socket, notify, clock) = manager(30_000);
        notify.trouble(Some("worker uplink stalled"));
        assert_eq!(heard(&socket), "STATUS=worker uplink stalled\n");
        clock.advance_ms(1_000);
        notify.status("all well");
        assert_eq!(heard(&socket), "");
        notify.trouble(None);
        assert_eq!(heard(&socket), "STATUS=all well\n");
    }

    #[test]
    fn nobody_listening_is_no_failure() {
        let clock = Clock::manual(Stamp::default());
        let quiet = Notify::quiet(clock.clone());
        quiet.ready("up");
        quiet.turn(true);
        quiet.trigger("down");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gone");
        let notify = Notify::to(&path, None, clock.clone()).unwrap();
        notify.ready("up");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        notify.ready("up");
        assert_eq!(heard(&socket), "READY=1\nSTATUS=up\n");
        assert!(Notify::to("x".repeat(200), None, clock).is_err());
    }

    #[test]
    fn an_abstract_socket_is_reached_too() {
        let name = format!("waypost-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_nonblocking(true).unwrap();
        let notify = Notify::to(format!("@{name}"), None, Clock::manual(Stamp::default())).unwrap();
        notify.ready("up");
        assert_eq!(heard(&socket), "READY=1\nSTATUS=up\n");
    }
}
