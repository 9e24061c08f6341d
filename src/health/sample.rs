//! What is known only at the moment of a scrape: values that the store, the board and the kernel keep, not the tally.
//! A value that does not apply is absent, never a fake zero.

use std::time::Duration;

use crate::domain::{Lane, Reason, Stamp};

use super::{FrameOutcome, LetterState, Severity, StoreFile};

/// The derived values of one scrape. The screen fills it from the store and the board; `Default` knows nothing.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// What runs here.
    pub build: Build,
    /// The ledger of each source, kept in the database: it goes on over restarts.
    pub frames: Vec<SourceFrames>,
    /// The inputs as they are.
    pub sources: Vec<SourceSample>,
    /// Events that wait for the platform, by lane.
    pub outbox_unsent: Vec<(Lane, u64)>,
    /// How long the oldest of them has waited; none when nothing waits.
    pub oldest_unsent: Option<Duration>,
    /// Whether the broker is connected; none without an `[uplink]`.
    pub uplink_connected: Option<bool>,
    /// When the first certificate in use ends. Unit: seconds since 1970.
    pub certificate_not_after_s: Option<i64>,
    /// Open streams.
    pub streams: usize,
    /// Letters by reason and state.
    pub letters: Vec<(Reason, LetterState, u64)>,
    /// The sum of the absolute differences of the ledger's identities; 0 is right.
    pub ledger_imbalance: Option<u64>,
    /// What lies on the disk. Bytes.
    pub store_bytes: Vec<(StoreFile, u64)>,
    /// The write-ahead log. Bytes.
    pub wal_bytes: Option<u64>,
    /// How long the store can take events in at the present rate without the platform.
    pub storage_autonomy: Option<Duration>,
    /// Free for us on the store's file system. Bytes.
    pub disk_free_bytes: Option<u64>,
    /// How far the wall clock is from the best known time, ms; positive: it is behind.
    pub clock_error_ms: Option<i64>,
    /// How long the last canary took from the channel to its commit.
    pub canary: Option<Duration>,
    /// The alarms that stand, by name.
    pub alarms: Vec<(String, Severity)>,
    /// How long ago each worker said that it gets on.
    pub beats: Vec<(String, Duration)>,
    /// What the kernel says of this process.
    pub process: Option<ProcessUse>,
}

/// What runs here.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// The version of the package.
    pub version: &'static str,
    /// The machine it was built for.
    pub arch: &'static str,
}

impl Default for Build {
    fn default() -> Self {
        Self { version: env!("CARGO_PKG_VERSION"), arch: std::env::consts::ARCH }
    }
}

/// The ledger of one source.
#[derive(Clone, Debug, Default)]
pub struct SourceFrames {
    /// The configured id.
    pub source: String,
    /// How its frames ended.
    pub outcomes: Vec<(FrameOutcome, u64)>,
    /// Why frames were rejected.
    pub rejected: Vec<(Reason, u64)>,
}

/// One input as it is.
#[derive(Clone, Debug, Default)]
pub struct SourceSample {
    /// The configured id.
    pub source: String,
    /// Whether it is open and delivers.
    pub up: bool,
    /// Since its last whole frame.
    pub last_frame_age: Option<Duration>,
    /// Since its last valid position; receivers only.
    pub fix_age: Option<Duration>,
    /// Share of the line's capacity in use; serial lines only. 0.0..=1.0.
    pub line_load: Option<f64>,
}

/// What the kernel says of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessUse {
    /// User and system time. Seconds.
    pub cpu_s: f64,
    /// Memory in RAM. Bytes.
    pub resident_bytes: u64,
    /// Address space. Bytes.
    pub virtual_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// Their limit; none when there is none.
    pub max_fds: Option<u64>,
    /// When it started. Unit: seconds since 1970, as far as the wall clock `now` is right.
    pub start_s: f64,
}

impl ProcessUse {
    /// What `/proc/self` says now; none where it cannot be read.
    #[must_use]
    pub fn read(now: Stamp) -> Option<Self> {
        // Without /proc there are no figures: the one answer that there is to it.
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        // The listing itself holds one descriptor open while it is counted.
        let open_fds = std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
        let mut usage = Self::parse(&stat, &limits, ticks_per_second(), page_bytes(), now)?;
        usage.open_fds = u64::try_from(open_fds).unwrap_or(u64::MAX);
        Some(usage)
    }

    /// Reads the text of `stat` and `limits`.
    ///
    /// Source: proc_pid_stat(5); the fields are counted behind the last `)`, because a name may hold anything.
    fn parse(stat: &str, limits: &str, ticks: f64, page: u64, now: Stamp) -> Option<Self> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        // The kernel writes numbers; a field that is none is one of a kernel nobody knows, and there are no figures then.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let seconds = |jiffies: u64| precise(jiffies) / ticks;
        let since_start_s = precise(u64::try_from(now.mono_us).unwrap_or(0)) / 1e6 - seconds(field(22)?);
        let wall_s = precise(u64::try_from(now.wall_ms).unwrap_or(0)) / 1e3;
        let max_fds = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max open files")?.split_ascii_whitespace().next()?.parse::<u64>().ok());
        Some(Self {
            cpu_s: seconds(field(14)?) + seconds(field(15)?),
            resident_bytes: field(24)?.saturating_mul(page),
            virtual_bytes: field(23)?,
            threads: field(20)?,
            open_fds: 0,
            max_fds,
            // Whole tenths: two scrapes of one process agree although the two clocks are not asked at one instant.
            start_s: ((wall_s - since_start_s) * 10.0).round() / 10.0,
        })
    }
}

/// A count as a float; beyond 2^53 the last digits go, which no gauge shows.
#[expect(clippy::cast_precision_loss, reason = "said above")]
pub(super) const fn precise(count: u64) -> f64 {
    count as f64
}

fn ticks_per_second() -> f64 {
    // SAFETY: sysconf takes no pointer and may be called from any thread.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    precise(u64::try_from(ticks).ok().filter(|ticks| *ticks > 0).unwrap_or(100))
}

fn page_bytes() -> u64 {
    // SAFETY: as above.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).ok().filter(|bytes| *bytes > 0).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_process_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (way) post) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 9 0 4000 1000000 250 1844 1 1";
        let limits =
            "Limit Soft Hard Units\nMax open files            4096                 524288               files\n";
        let now = Stamp { mono_us: 100_000_000, wall_ms: 1_000_000 };
        let usage = ProcessUse::parse(stat, limits, 100.0, 4096, now);
        let expect = ProcessUse {
            cpu_s: 2.0,
            resident_bytes: 250 * 4096,
            virtual_bytes: 1_000_000,
            threads: 9,
            open_fds: 0,
            max_fds: Some(4096),
            start_s: 940.0,
        };
        assert_eq!(usage, Some(expect));
    }

    #[test]
    fn this_process_uses_memory_and_descriptors() {
        let usage = ProcessUse::read(Clock::system().now()).expect("this machine has /proc");
        assert!(usage.resident_bytes > 100_000 && usage.open_fds >= 3 && usage.threads >= 1, "{usage:?}");
    }
}
