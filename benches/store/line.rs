//! What hangs on a serial line: a scanner or a receiver, its block of the configuration, what it sends and at which pace.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::bench::sentence;

/// What is at the other end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Scanner,
    Receiver,
}

impl Kind {
    /// Its block of the configuration; each of its frames is an event.
    pub fn block(self, port: &Path) -> String {
        let port = port.display();
        match self {
            Self::Scanner => {
                format!("[[scanner]]\nid = \"door\"\nport = \"{port}\"\nplace = \"door\"\nrepeat_window_ms = 0\n")
            }
            Self::Receiver => format!(
                "[[gps]]\nid = \"gps0\"\nport = \"{port}\"\nbaud = 115200\ntrack_interval_s = 0\nparked_interval_s = 0\n"
            ),
        }
    }
}

/// RMC, GGA and GSA of a truck that moves on, the `n`th of its day; the latitude carries the number.
pub fn epoch(n: u32, every: Duration) -> String {
    let ms = u128::from(n) * every.as_millis();
    let time = format!("{:02}{:02}{:02}.{:02}", ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000 / 10);
    let lat = format!("48{:08.5}", 1.0 + f64::from(n % 50_000) * 0.001);
    let gga = sentence(&format!("GPGGA,{time},{lat},N,01130.00000,E,1,09,0.9,512.3,M,46.9,M,,"));
    let gsa = sentence("GPGSA,A,3,04,05,09,12,24,25,29,31,32,,,,1.8,0.9,1.5");
    gga + &gsa + &sentence(&format!("GPRMC,{time},A,{lat},N,01130.00000,E,36.0,000.0,211126,,,A"))
}

/// Waits for an instant.
pub fn wait_until(due: Instant) {
    while let Some(left) = due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}
