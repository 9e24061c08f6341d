//! The arguments of `waypost simulate`, and what it prints.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

use super::SimulateError;
use super::faults::Faults;
use super::gps::{Gps, Track};
use super::input::Input;
use super::line::{AtEnd, Device, Session};
use super::receiver::Model;
use super::scanner::{Reads, Scanner};
use super::tape::Time;

/// What every simulated device can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct DeviceArgs {
    /// Where to link the port; a link there is replaced, a file is not
    #[arg(long, value_name = "PATH")]
    pub link: PathBuf,
    /// Begin again at the end
    #[arg(long = "loop")]
    pub repeat: bool,
    /// What becomes of the port at the end
    #[arg(long, value_enum, default_value_t)]
    pub at_end: AtEnd,
    /// What goes wrong: noise=P partial=P glue=P checksum=P (chance a frame), silence=S/EVERY unplug=S/EVERY (seconds), with commas
    #[arg(long, value_name = "SPEC", default_value = "", hide_default_value = true)]
    pub faults: Faults,
    /// Makes chance repeatable; without it one is taken and printed
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// What a route may say, for `--help`.
const ROUTE_HELP: &str = "\
A route in GeoJSON is a LineString; its feature may have the properties
  speed_mps or speeds_mps  m/s, one number for all or one a point, valid from the point on [default: 8.3]
  stops_s                  seconds it stands at each point, up to a day
  wander_m                 while it stands there: half of the fixes lie within so many metres, one in twenty beyond four times
                           that, hdop 3, as of a moored boat or beside a wall; 0 is a receiver in the open
  tunnels                  pairs of point numbers, the first is 0: [[3,5]] has no fix from point 3 to point 5 (RMC V, quality 0)";

/// The arguments of `simulate gps`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = ROUTE_HELP)]
#[command(group = clap::ArgGroup::new("track").required(true).args(["log", "route"]))]
pub struct GpsArgs {
    /// A log of sentences to play, or what `waypost capture` wrote
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// A route to drive: GeoJSON LineString, or lines `lat,lon[,speed_mps[,stop_s[,wander_m]]]`; see below
    #[arg(long, value_name = "FILE")]
    pub route: Option<PathBuf>,
    /// What the receiver on a route says
    #[arg(long, value_enum, default_value_t)]
    pub model: Model,
    /// The time in the sentences
    #[arg(long, value_enum, default_value_t)]
    pub time: Time,
    /// Epochs a second, 0.001 to 1000 [default: the log's own pace; 1 for a route]
    #[arg(long, value_name = "HZ")]
    pub rate: Option<f64>,
    /// What every device can be told.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// The arguments of `simulate scanner`.
#[derive(Clone, Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("reads").required(true).args(["codes", "log"]))]
pub struct ScannerArgs {
    /// The codes: one a line, with C escapes
    #[arg(long, value_name = "FILE")]
    pub codes: Option<PathBuf>,
    /// What `waypost capture` wrote, played as it was; or the bytes of reads, each with its line end
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// From one code to the next, ms; a capture has times of its own
    #[arg(long, value_name = "MS", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    pub every: u64,
    /// What follows a code that does not itself end with CR or LF
    #[arg(long, value_name = "ESCAPES", default_value = "\\r")]
    pub terminator: String,
    /// What every device can be told.
    #[command(flatten)]
    pub device: DeviceArgs,
}

impl DeviceArgs {
    fn device(self, clock: &Clock) -> Device {
        let Self { link, repeat, at_end, faults, seed } = self;
        Device { link, repeat, at_end, faults, seed: seed.unwrap_or_else(|| chosen(clock)) }
    }
}

impl GpsArgs {
    /// Plays until the end or `stop`; says on `out` the link, the tty and the seed once the port is there, and at the
    /// end what was played.
    ///
    /// # Errors
    /// [`SimulateError`]; its `exit_code` is the program's.
    pub async fn run(
        self,
        clock: Clock,
        stop: CancellationToken,
        out: &mut (dyn Write + Send),
    ) -> Result<(), SimulateError> {
        play(self.gps(&clock)?.plug(clock)?, stop, out).await
    }

    fn gps(self, clock: &Clock) -> Result<Gps, SimulateError> {
        let track = match (self.log, self.route) {
            (Some(log), None) => Track::Log(Input::File(log)),
            (None, Some(route)) => Track::Route(Input::File(route)),
            _ => {
                return Err(SimulateError::content(
                    "a receiver",
                    "it needs one thing to play",
                    "give --log or --route",
                ));
            }
        };
        let device = self.device.device(clock);
        Ok(Gps { device, track, model: self.model, time: self.time, rate_hz: self.rate })
    }
}

impl ScannerArgs {
    /// Plays until the end or `stop`; says on `out` the link, the tty and the seed once the port is there, and at the
    /// end what was played.
    ///
    /// # Errors
    /// [`SimulateError`]; its `exit_code` is the program's.
    pub async fn run(
        self,
        clock: Clock,
        stop: CancellationToken,
        out: &mut (dyn Write + Send),
    ) -> Result<(), SimulateError> {
        let reads = match (self.codes, self.log) {
            (Some(codes), None) => Reads::Codes(Input::File(codes)),
            (None, Some(log)) => Reads::Log(Input::File(log)),
            _ => {
                let problem = "it needs one thing to play";
                return Err(SimulateError::content("a scanner", problem, "give --codes or --log"));
            }
        };
        let every = Duration::from_millis(self.every);
        let scanner = Scanner { device: self.device.device(&clock), reads, every, terminator: self.terminator };
        play(scanner.plug(clock)?, stop, out).await
    }
}

async fn play(session: Session, stop: CancellationToken, out: &mut (dyn Write + Send)) -> Result<(), SimulateError> {
    let tty = session.tty().map_or_else(String::new, |tty| tty.display().to_string());
    said(out, &format!("link {}\ntty {tty}\nseed {}\n", session.link().display(), session.seed()));
    let played = session.run(stop).await?;
    said(out, &format!("{played}\n"));
    Ok(())
}

/// Play goes on without an audience: what is printed is for people, and a closed pipe is no reason to pull a plug.
fn said(out: &mut (dyn Write + Send), text: &str) {
    let done: io::Result<()> = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if let Err(error) = done {
        tracing::debug!(%error, "nobody reads what is printed");
    }
}

/// A seed that differs from run to run; small enough to be typed again.
fn chosen(clock: &Clock) -> u64 {
    let now = clock.now();
    let mixed = now.mono_us.wrapping_mul(31).wrapping_add(now.wall_ms).wrapping_add(i64::from(std::process::id()));
    mixed.unsigned_abs() % 1_000_000
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    fn parsed<A: Args + FromArgMatches>(line: &str) -> Result<A, clap::Error> {
        let command = A::augment_args(clap::Command::new("simulate"));
        A::from_arg_matches(&command.try_get_matches_from(line.split(' '))?)
    }

    #[test]
    fn the_command_lines_of_the_contract_are_understood() {
        let args: GpsArgs =
            parsed("gps --link /run/g --route r.geojson --time recorded --rate 10 --loop --at-end unplug --faults noise=0.1,unplug=2/60 --seed 5").unwrap();
        let gps = args.gps(&Clock::system()).unwrap();
        let device = &gps.device;
        assert_eq!((device.seed, gps.rate_hz, device.repeat, device.at_end), (5, Some(10.0), true, AtEnd::Unplug));
        assert!((device.faults.noise - 0.1).abs() < 1e-9 && gps.time == Time::Recorded);
        let args: ScannerArgs = parsed("scanner --link /run/s --codes c.txt --every 100").unwrap();
        assert_eq!((args.every, args.terminator.as_str(), args.device.at_end), (100, "\\r", AtEnd::Hold));
    }

    #[test]
    fn a_command_line_that_makes_no_sense_is_refused() {
        for bad in [
            "gps --link /g",
            "gps --link /g --log a --route b",
            "gps --log a",
            "gps --link /g --log a --faults x",
            "gps --link /g --log a --time never",
        ] {
            assert!(parsed::<GpsArgs>(bad).is_err(), "{bad}");
        }
        let error = parsed::<GpsArgs>("gps --link /g --log a --faults noise=2").unwrap_err().to_string();
        assert!(error.contains("a chance lies from 0 to 1") && error.contains("write e.g."), "{error}");
        for bad in ["scanner --link /s --codes c --every 0", "scanner --link /s", "scanner --link /s --codes c --log l"]
        {
            assert!(parsed::<ScannerArgs>(bad).is_err(), "{bad}");
        }
    }
}
