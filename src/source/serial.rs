//! Ttys and ptys: set as configured, held alone, and the baud rate found out where none is configured.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;
use tokio_serial::{DataBits, ErrorKind, SerialPortBuilderExt, SerialStream, StopBits};

use super::conn::{Leash, Reading};
use super::open::{Source, Trouble, absent_advice};
use super::pulse::Pulse;
use super::{Line, Lost, Parity, SourceSpec};

/// The rates that are tried, the commonest first.
const RATES: [u32; 8] = [9600, 4800, 115_200, 38_400, 57_600, 19_200, 230_400, 460_800];
/// How long a rate is given at least once bytes come; doubled after each round, so that slow receivers are met too.
const TRY_MIN: Duration = Duration::from_secs(5);
/// The longest that a rate is given.
const TRY_MAX: Duration = Duration::from_secs(60);

/// Opens the tty, reads until lost, closes it.
pub(super) async fn pass(source: &Source, pulse: &Pulse, path: &Path, bauds: &mut Bauds) -> Result<Lost, Trouble> {
    let mut stream = open(source, path, bauds.rate())?;
    source.light.line(has_wire(path).then_some(bauds.rate()));
    bauds.opened(source);
    let conn = source.next_conn();
    let read = async {
        source.opened(pulse, conn, None, None).await?;
        let leash = Leash::new(pulse);
        let bauds = Some(&mut *bauds);
        let why = Reading { source, pulse, conn, leash: &leash, backlog: None, bauds }.read(&mut stream).await;
        source.lost(pulse, conn, why).await
    };
    let why = read.await.unwrap_or(Lost::Stopped);
    if matches!(why, Lost::Baud | Lost::Idle) {
        bauds.turn();
    }
    Ok(why)
}

/// Whether bytes go over a wire with a rate: a receiver that is USB itself takes any rate and keeps to none.
fn has_wire(path: &Path) -> bool {
    let device = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    !device.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"ttyACM"))
}

/// Opens it for us alone: a second program on a tty takes bytes away unseen.
fn open(source: &Source, path: &Path, baud: u32) -> Result<SerialStream, Trouble> {
    let Line { serial: (data, parity, stop), .. } = source.spec.line;
    let data = match data {
        5 => DataBits::Five,
        6 => DataBits::Six,
        7 => DataBits::Seven,
        _ => DataBits::Eight,
    };
    let parity = match parity {
        Parity::None => tokio_serial::Parity::None,
        Parity::Even => tokio_serial::Parity::Even,
        Parity::Odd => tokio_serial::Parity::Odd,
    };
    let stop = if stop == 2 { StopBits::Two } else { StopBits::One };
    let opened = tokio_serial::new(path.to_string_lossy(), baud)
        .data_bits(data)
        .parity(parity)
        .stop_bits(stop)
        .open_native_async();
    opened.map_err(|error| {
        let text = format!("{} at {baud} baud: {error}", path.display());
        match error.kind {
            // EPERM is what a device rule of the service manager answers; the crate has no kind for it.
            ErrorKind::Io(std::io::ErrorKind::PermissionDenied) => Trouble::permission(text, source.claim_advice(path)),
            _ if error.description == "Operation not permitted" => Trouble::permission(text, source.claim_advice(path)),
            ErrorKind::NoDevice => Trouble::absent(
                text,
                format!("Another program holds {}: `waypost devices` names it; stop it.", path.display()),
            ),
            _ => Trouble::absent(text, absent_advice(&source.spec.port)),
        }
    })
}

/// The baud rate of a tty: the configured one, or the one that is being found out by whether whole frames come.
pub(super) struct Bauds {
    configured: Option<u32>,
    at: usize,
    patience: Duration,
    found: bool,
    frames_before: u64,
    first_byte: Option<Instant>,
    garbage_since: Option<Instant>,
}

impl Bauds {
    pub fn new(spec: &SourceSpec) -> Self {
        Self {
            // Nothing can tell a scanner's wrong rate from a strange code: its rate is never guessed.
            configured: spec.line.baud.or((spec.kind == "scanner").then_some(9600)),
            at: 0,
            patience: spec.silent_after.unwrap_or(TRY_MIN),
            found: false,
            frames_before: 0,
            first_byte: None,
            garbage_since: None,
        }
    }

    /// The rate to open with.
    pub fn rate(&self) -> u32 {
        self.configured.unwrap_or(RATES[self.at % RATES.len()])
    }

    fn opened(&mut self, source: &Source) {
        self.frames_before = source.light.frames();
        self.first_byte = None;
        self.garbage_since = None;
    }

    /// Asked after each read: whether bytes have come for long enough without a frame, so that another rate is due.
    pub fn is_wrong(&mut self, source: &Source) -> bool {
        if self.configured.is_some() {
            return false;
        }
        let since = *self.first_byte.get_or_insert_with(Instant::now);
        self.found |= source.light.frames() != self.frames_before;
        if !self.found {
            return since.elapsed() >= self.patience;
        }
        // A rate that was right may be wrong after the receiver was changed: then nothing but garbage comes.
        if !source.light.is_garbage() {
            self.garbage_since = None;
            return false;
        }
        self.garbage_since.get_or_insert_with(Instant::now).elapsed() >= self.patience * 2
    }

    /// The next rate, unless this one was right and the receiver only fell silent.
    fn turn(&mut self) {
        if self.found && self.garbage_since.is_none() {
            return;
        }
        self.found = false;
        self.at += 1;
        if self.at.is_multiple_of(RATES.len()) {
            self.patience = (self.patience * 2).min(TRY_MAX);
        }
    }
}
