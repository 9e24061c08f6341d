//! Ttys and ptys: set as configured, held alone, and the baud rate found out where none is configured.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;
use tokio_serial::{ClearBuffer, DataBits, ErrorKind, SerialPort, SerialPortBuilderExt, SerialStream, StopBits};
use tracing::info;

use super::conn::{Leash, Reading};
use super::open::{Source, Trouble, absent_advice};
use super::pulse::Pulse;
use super::{Line, Lost, Parity, SourceSpec};

/// The rates that are tried, the commonest first.
const RATES: [u32; 9] = [9600, 38_400, 115_200, 4800, 57_600, 19_200, 230_400, 460_800, 921_600];
/// The longest that a rate is given; the first round is short, each further one doubles, so that slow receivers are met too.
const TRY_MAX: Duration = Duration::from_secs(60);
/// A rate that was right is doubted after this many tries' time of bytes without a sentence: a burst of noise is shorter.
const DOUBT_TRIES: u32 = 6;
/// Fewer bytes without a sentence than this are no reason to doubt a rate.
const DOUBT_BYTES: usize = 256;
/// What the line still carries of the old rate passes by.
const SETTLE: Duration = Duration::from_millis(200);

/// Opens the tty, reads until lost, closes it.
pub(super) async fn pass(source: &Source, pulse: &Pulse, path: &Path, bauds: &mut Bauds) -> Result<Lost, Trouble> {
    let mut stream = open(source, path, bauds.rate())?;
    if bauds.configured.is_none()
        && let Err(error) = stream.clear(ClearBuffer::Input)
    {
        // What came before the rate was set says nothing of the rate.
        return Ok(Lost::Io(error.to_string()));
    }
    loop {
        source.light.line(has_wire(path).then_some(bauds.rate()));
        bauds.begin(source);
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
            bauds.turn(source);
        }
        if why != Lost::Baud {
            return Ok(why);
        }
        // The port stays open: to close it would drop its lines, which resets some receivers.
        if let Err(error) = stream.set_baud_rate(bauds.rate()) {
            return Ok(Lost::Io(format!("{} baud: {error}", bauds.rate())));
        }
        pulse.rest(SETTLE).await;
        if let Err(error) = stream.clear(ClearBuffer::Input) {
            return Ok(Lost::Io(error.to_string()));
        }
    }
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
            ErrorKind::NoDevice => Trouble::busy(text, path),
            _ => Trouble::absent(text, absent_advice(&source.spec.port)),
        }
    })
}

/// The baud rate of a tty: the configured one, or the one that is being found out by whether whole sentences come.
pub(super) struct Bauds {
    configured: Option<u32>,
    at: usize,
    patience: Duration,
    doubt_after: Duration,
    found: bool,
    /// How many reads had been good when last looked.
    good: u64,
    /// Since when bytes come without a sentence, and how many.
    bad: Option<(Instant, usize)>,
}

impl Bauds {
    pub fn new(spec: &SourceSpec) -> Self {
        Self {
            // Nothing can tell a scanner's wrong rate from a strange code: its rate is never guessed.
            configured: spec.line.baud.or((spec.kind == "scanner").then_some(9600)),
            at: 0,
            patience: spec.baud_try,
            doubt_after: spec.baud_try * DOUBT_TRIES,
            found: false,
            good: 0,
            bad: None,
        }
    }

    /// The rate to set.
    pub fn rate(&self) -> u32 {
        self.configured.unwrap_or(RATES[self.at % RATES.len()])
    }

    /// The port listens at this rate from now on.
    fn begin(&mut self, source: &Source) {
        self.good = source.light.good_reads();
        self.bad = None;
    }

    /// How long until a rate that is tried is over, when nothing more comes; none when that alone says nothing.
    pub fn due(&self) -> Option<Duration> {
        let (since, _) = self.bad.filter(|_| self.configured.is_none() && !self.found)?;
        Some(self.patience.saturating_sub(since.elapsed()))
    }

    /// Asked after each read of `n` bytes and when due: whether bytes have come for long enough without a sentence, so that
    /// another rate is due.
    pub fn is_wrong(&mut self, source: &Source, n: usize) -> bool {
        if self.configured.is_some() {
            return false;
        }
        let good = source.light.good_reads();
        if good != self.good {
            self.good = good;
            self.bad = None;
            if !self.found {
                self.found = true;
                source.light.seeking(false);
                info!(source = %source.spec.id, baud = self.rate(), "baud rate found");
            }
            return false;
        }
        let (since, bytes) = self.bad.get_or_insert_with(|| (Instant::now(), 0));
        *bytes = bytes.saturating_add(n);
        if !self.found {
            return since.elapsed() >= self.patience;
        }
        // A rate that was right may be wrong after the receiver was changed: then nothing but garbage comes.
        since.elapsed() >= self.doubt_after && *bytes >= DOUBT_BYTES
    }

    /// The next rate, unless this one was right and the receiver only fell silent. A search begins with the commonest.
    fn turn(&mut self, source: &Source) {
        if self.found {
            let Some((since, bytes)) = self.bad else { return };
            if since.elapsed() < self.doubt_after || bytes < DOUBT_BYTES {
                return;
            }
            self.at = usize::from(self.at == 0);
            self.patience = source.spec.baud_try;
        } else {
            self.at += 1;
            if self.at.is_multiple_of(RATES.len()) {
                self.patience = (self.patience * 2).min(TRY_MAX);
            }
        }
        self.found = false;
        source.light.seeking(self.bad.is_some());
    }
}
