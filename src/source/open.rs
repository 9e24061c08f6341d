//! The loop of a source: open, read until lost, close, wait, open again; and what all kinds of ports share.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{info, warn};

use super::pace::{Pace, Retry, Say};
use super::pulse::Pulse;
use super::{Conn, Input, LINES_PER_S, Lost, SourceSpec, client, file, hid, listen, serial, udp};
use crate::clock::Clock;
use crate::config::Port;
use crate::domain::{Reason, Stamp};
use crate::health::{Ctx, Light, Outcome, SourceCondition};

/// How often is looked whether a device is there again.
const DEVICE_LOOK: Duration = Duration::from_millis(250);
/// How long udev may take to give a device that was plugged in to its group.
const UDEV_MAX: Duration = Duration::from_secs(2);

/// A configured input at work; it outlives the worker's restarts, so that no [`Conn`] is used twice and none stays open.
pub(super) struct Source {
    pub spec: SourceSpec,
    pub light: Light,
    pub clock: Clock,
    tx: mpsc::Sender<Input>,
    next: AtomicU32,
    /// Those whose `Opened` was sent and whose `Lost` was not.
    open: Mutex<BTreeSet<Conn>>,
    reads: AtomicU64,
    pace: Option<Mutex<Pace>>,
    opened_said: Mutex<Say>,
    lost_said: Mutex<Say>,
}

/// Why a port cannot be opened.
#[derive(Debug)]
pub(super) struct Trouble {
    /// Absent, permission or busy.
    pub condition: SourceCondition,
    /// What a person should do.
    pub advice: String,
    /// The error with its value.
    pub error: String,
}

impl Trouble {
    /// Something that is not there, or not there now.
    pub fn absent(error: impl std::fmt::Display, advice: impl Into<String>) -> Self {
        Self { condition: SourceCondition::Absent, advice: advice.into(), error: error.to_string() }
    }

    /// Something that another program has for itself.
    pub fn busy(error: impl std::fmt::Display, path: &Path) -> Self {
        let advice = format!("Another program holds {}: `sudo waypost doctor` names it; stop it.", path.display());
        Self { condition: SourceCondition::Busy, advice, error: error.to_string() }
    }

    /// Something the service may not do.
    pub fn permission(error: impl std::fmt::Display, advice: impl Into<String>) -> Self {
        Self { condition: SourceCondition::Permission, advice: advice.into(), error: error.to_string() }
    }
}

/// The receiver of the inputs is gone: there is nothing to read for.
#[derive(Debug)]
pub(super) struct Gone;

impl Source {
    pub fn new(spec: SourceSpec, tx: mpsc::Sender<Input>, light: Light, clock: Clock) -> Self {
        let pace = (!spec.reply).then(|| Mutex::new(Pace::new(LINES_PER_S)));
        Self {
            spec,
            light,
            clock,
            tx,
            next: AtomicU32::new(1),
            open: Mutex::default(),
            reads: AtomicU64::new(0),
            pace,
            opened_said: Mutex::new(Say::new()),
            lost_said: Mutex::new(Say::new()),
        }
    }

    /// A number for the next opening.
    pub fn next_conn(&self) -> Conn {
        Conn(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Says that `conn` is open; a source that need not deliver to be well is up with that.
    pub async fn opened(
        &self,
        pulse: &Pulse,
        conn: Conn,
        peer: Option<SocketAddr>,
        reply: Option<mpsc::Sender<String>>,
    ) -> Result<(), Gone> {
        if self.spec.silent_after.is_none() {
            self.light.port(SourceCondition::Up, "");
        }
        if let Some(unsaid) = say(&self.opened_said) {
            info!(source = %self.spec.id, port = %self.spec.port, conn = conn.0, peer = peer.map(display), unsaid,
                "port opened");
        }
        let at = self.clock.now();
        self.open_now().insert(conn);
        self.send(pulse, Input::Opened { conn, peer, reply, at }).await
    }

    /// Says that the line was silent, though it was listened to.
    pub async fn quiet(&self, pulse: &Pulse, conn: Conn) -> Result<(), Gone> {
        let at = self.clock.now();
        self.send(pulse, Input::Quiet { conn, at }).await
    }

    /// Hands on what one read returned; answers how long not to read.
    pub async fn bytes(
        &self,
        pulse: &Pulse,
        conn: Conn,
        bytes: &[u8],
        at: Stamp,
        peer: Option<SocketAddr>,
        waited: bool,
    ) -> Result<Duration, Gone> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.light.bytes();
        self.light.carried(bytes.len(), at);
        let mut waited = waited;
        for chunk in bytes.chunks(super::CHUNK_MAX) {
            self.send(pulse, Input::Bytes { conn, bytes: chunk.to_vec(), at, peer, waited }).await?;
            waited = false;
        }
        let Some(pace) = &self.pace else { return Ok(Duration::ZERO) };
        // A panic in between leaves whole numbers behind.
        Ok(pace.lock().unwrap_or_else(PoisonError::into_inner).spend(bytes))
    }

    /// Says that `conn` is over, once; gives back why.
    pub async fn lost(&self, pulse: &Pulse, conn: Conn, why: Lost) -> Result<Lost, Gone> {
        if !self.open_now().contains(&conn) {
            return Ok(why);
        }
        if let Some(unsaid) = say(&self.lost_said) {
            info!(source = %self.spec.id, port = %self.spec.port, conn = conn.0, %why, unsaid, "port lost");
        }
        self.send(pulse, Input::Lost { conn, why: why.clone(), at: self.clock.now() }).await?;
        self.open_now().remove(&conn);
        Ok(why)
    }

    /// Says that a connection or datagram was not taken.
    pub async fn refused(&self, pulse: &Pulse, peer: SocketAddr, text: &'static str) -> Result<(), Gone> {
        self.send(pulse, Input::Refused { peer, at: self.clock.now(), why: Reason::NotAllowed, text }).await
    }

    /// Whether this address may send: one of `allow`, or loopback when that is empty.
    pub fn allows(&self, ip: IpAddr) -> bool {
        if self.spec.allow.is_empty() {
            ip.to_canonical().is_loopback()
        } else {
            self.spec.allow.iter().any(|network| network.contains(ip))
        }
    }

    /// What to do about a port the service may not open: the line that gives it to the service.
    pub fn claim_advice(&self, path: &Path) -> String {
        let device = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        format!("Give it to the service: sudo waypost devices claim {} {}", self.spec.id, device.display())
    }

    /// Waits for room as long as it takes; after a stop for two more seconds.
    async fn send(&self, pulse: &Pulse, input: Input) -> Result<(), Gone> {
        tokio::select! {
            biased;
            sent = pulse.wait(self.tx.send(input), None) => match sent {
                Some(Ok(())) => Ok(()),
                _ => Err(Gone),
            },
            () = pulse.stopped_for_good() => Err(Gone),
        }
    }

    fn open_now(&self) -> MutexGuard<'_, BTreeSet<Conn>> {
        // A panic while holding it leaves a whole set behind: every change is one call.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One run of the worker. Its loop waits on the port, on the next try and on the stop.
pub(super) async fn run(source: Arc<Source>, ctx: Ctx) -> Outcome {
    let pulse = Pulse { beat: Some(ctx.beat), light: source.light.clone(), stop: ctx.stop };
    source.light.port(SourceCondition::Opening, "");
    let left: Vec<Conn> = source.open_now().iter().copied().collect();
    for conn in left {
        // What the last run of this worker left open when it was ended from outside.
        if source.lost(&pulse, conn, Lost::Stopped).await.is_err() {
            break;
        }
    }
    let mut turns = Turns::new(&source);
    loop {
        pulse.working().await;
        let rest = turns.turn(&source, &pulse).await;
        if pulse.stop.is_cancelled() {
            return Ok(());
        }
        anyhow::ensure!(!source.tx.is_closed(), "source {}: nobody takes what it reads", source.spec.id);
        match rest {
            None => return Ok(()),
            // The port is closed by now: a device that comes back while it is held open gets another name.
            Some(rest) => pulse.rest(rest).await,
        }
    }
}

/// What is remembered from one opening to the next.
struct Turns {
    retry: Retry,
    bauds: serial::Bauds,
    failed_said: Say,
    /// Since when a device that was just plugged in is not ours yet.
    denied_since: Option<Instant>,
}

impl Turns {
    fn new(source: &Source) -> Self {
        Self {
            retry: Retry::new(),
            bauds: serial::Bauds::new(&source.spec),
            failed_said: Say::new(),
            denied_since: None,
        }
    }

    /// Opens, reads until lost, closes; answers how long to wait, none when the source is done for good.
    async fn turn(&mut self, source: &Arc<Source>, pulse: &Pulse) -> Option<Duration> {
        let reads = source.reads.load(Ordering::Relaxed);
        let ended = match &source.spec.port {
            Port::Serial(path) => serial::pass(source, pulse, path, &mut self.bauds).await,
            Port::Tcp(host, port) => client::pass(source, pulse, host, *port, b"").await,
            Port::Gpsd(host, port, _) => client::pass(source, pulse, host, *port, client::GPSD_WATCH).await,
            Port::TcpListen(addr) => listen::pass(source, pulse, *addr).await,
            Port::UdpListen(addr) => udp::pass(source, pulse, *addr).await,
            Port::File(path) => file::pass(source, pulse, path).await,
            Port::Hid(path) => hid::pass(source, pulse, path).await,
        };
        if source.reads.load(Ordering::Relaxed) != reads {
            self.retry.reset();
        }
        match &ended {
            Ok(_) => self.denied_since = None,
            Err(trouble) if self.is_udev_at_work(trouble) => return Some(DEVICE_LOOK),
            Err(_) => {}
        }
        let is_device = matches!(source.spec.port, Port::Serial(_) | Port::Hid(_));
        match ended {
            Ok(Lost::Stopped) => None,
            Ok(Lost::Eof) if matches!(source.spec.port, Port::File(_)) => {
                source.light.port(SourceCondition::Ended, "");
                None
            }
            Ok(Lost::Idle | Lost::Baud) => Some(Duration::ZERO),
            Ok(_) => {
                source.light.port(SourceCondition::Absent, &absent_advice(&source.spec.port));
                Some(if is_device { DEVICE_LOOK } else { self.retry.next() })
            }
            Err(trouble) => {
                source.light.port(trouble.condition, &trouble.advice);
                if let Some(unsaid) = self.failed_said.now() {
                    warn!(source = %source.spec.id, port = %source.spec.port, error = %trouble.error,
                        advice = %trouble.advice, unsaid, "port cannot be opened");
                }
                // To look whether a name is there costs nothing; to open what others hold may raise its lines.
                let is_gone = is_device && trouble.condition == SourceCondition::Absent;
                Some(if is_gone { DEVICE_LOOK } else { self.retry.next() })
            }
        }
    }

    /// Whether the port may not be opened only because udev has not given it to us yet.
    fn is_udev_at_work(&mut self, trouble: &Trouble) -> bool {
        if trouble.condition != SourceCondition::Permission {
            self.denied_since = None;
            return false;
        }
        self.denied_since.get_or_insert_with(Instant::now).elapsed() < UDEV_MAX
    }
}

fn say(said: &Mutex<Say>) -> Option<u32> {
    // A panic in between leaves whole counts behind.
    said.lock().unwrap_or_else(PoisonError::into_inner).now()
}

/// What to do about a port that was there and is gone.
pub(super) fn absent_advice(port: &Port) -> String {
    match port {
        Port::Serial(path) | Port::Hid(path) => {
            format!("Check the plug, cable and power of the device at {}.", path.display())
        }
        Port::Tcp(..) | Port::Gpsd(..) => format!("Check that {port} runs and that the network reaches it."),
        Port::TcpListen(_) | Port::UdpListen(_) => {
            format!("Check that the address of {port} is one of this machine's.")
        }
        Port::File(path) => format!("Check the file {}.", path.display()),
    }
}
