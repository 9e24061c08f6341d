//! Times and how far they can be believed.

/// Milliseconds since 1970-01-01T00:00:00 UTC.
///
/// Unit: ms; negative before 1970. A fact about the world, never used to steer the program.
pub type UnixMs = i64;

/// The instant of a `read()`, on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Microseconds of `CLOCK_BOOTTIME`: counts suspend, never steps. Durations are differences of this.
    pub mono_us: i64,
    /// The node's wall clock at the same moment; may be wrong, see [`TimeQuality`].
    pub wall_ms: UnixMs,
}

impl Stamp {
    /// Milliseconds of `CLOCK_BOOTTIME`.
    #[must_use]
    pub const fn mono_ms(self) -> i64 {
        self.mono_us / 1000
    }
}

/// How far a time can be believed; the `tq` of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimeQuality {
    /// Nothing vouches for the clock.
    None,
    /// A real-time clock that is not before the build date and the newest trusted time in the store.
    Rtc,
    /// The system clock is disciplined by NTP.
    Ntp,
    /// A receiver has given ten consistent epochs in this boot.
    Gnss,
}

impl TimeQuality {
    /// The word on the wire: `none`, `rtc`, `ntp`, `gnss`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Rtc => "rtc",
            Self::Ntp => "ntp",
            Self::Gnss => "gnss",
        }
    }

    /// The quality a stored word stands for; unknown words are [`TimeQuality::None`].
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        match word {
            "rtc" => Self::Rtc,
            "ntp" => Self::Ntp,
            "gnss" => Self::Gnss,
            _ => Self::None,
        }
    }

    /// Whether it may judge other times: GNSS or NTP.
    #[must_use]
    pub const fn is_trusted(self) -> bool {
        matches!(self, Self::Gnss | Self::Ntp)
    }
}
