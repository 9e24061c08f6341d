//! A receiver as it is asked for: a log or a route, its pace, its faults.

use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

use super::SimulateError;
use super::faults::Faults;
use super::input::Input;
use super::line::{AtEnd, Played, Session};
use super::receiver::Receiver;
use super::recording::Recording;
use super::route;
use super::tape::{Tape, Time};
use super::truck::Truck;

/// Epochs a second that can be asked for.
const RATE_HZ: std::ops::RangeInclusive<f64> = 0.001..=1000.0;

/// What a simulated receiver plays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Track {
    /// A log: sentences, and whatever else is in it.
    Log(Input),
    /// A route: GeoJSON LineString, or lines `lat,lon[,speed_mps[,stop_s]]`.
    Route(Input),
}

/// A simulated GPS receiver on a pty.
#[derive(Clone, Debug)]
pub struct Gps {
    /// Where its port is linked.
    pub link: PathBuf,
    /// What it plays.
    pub track: Track,
    /// What time it says.
    pub time: Time,
    /// Epochs a second, 0.001..=1000; without it a log keeps its own pace and a route goes at 1.
    pub rate_hz: Option<f64>,
    /// Begin again at the end.
    pub repeat: bool,
    /// What becomes of the port at the end.
    pub at_end: AtEnd,
    /// What goes wrong.
    pub faults: Faults,
    /// Of the faults and of the receiver's wander.
    pub seed: u64,
}

impl Gps {
    /// Reads what is to be played, makes the port and links it.
    ///
    /// # Errors
    /// [`SimulateError`]: the file, its content or the rate is bad, or the port or its link cannot be made.
    pub fn plug(self, clock: Clock) -> Result<Session, SimulateError> {
        let tape = self.tape()?;
        Session::plug(self.link, tape, clock, (self.faults, self.seed, self.at_end))
    }

    /// [`Gps::plug`], then [`Session::run`].
    ///
    /// # Errors
    /// Those of both.
    pub async fn run(self, clock: Clock, stop: CancellationToken) -> Result<Played, SimulateError> {
        self.plug(clock)?.run(stop).await
    }

    pub(super) fn tape(&self) -> Result<Box<dyn Tape>, SimulateError> {
        let interval = match self.rate_hz {
            None => None,
            Some(rate) if RATE_HZ.contains(&rate) => Some(Duration::from_secs_f64(1.0 / rate)),
            Some(rate) => {
                let problem = format!("the rate is {rate} Hz");
                return Err(SimulateError::content(self.link.display().to_string(), problem, "give 0.001 to 1000"));
            }
        };
        match &self.track {
            Track::Log(input) => {
                let bytes = input.read("the log")?;
                let tape = Recording::new(bytes, interval, self.time, self.repeat);
                let tape = tape
                    .ok_or_else(|| SimulateError::content(input.name(), "it is empty", "give a log with sentences"))?;
                Ok(Box::new(tape))
            }
            Track::Route(input) => {
                let route = route::parse(&input.name(), &input.read("the route")?)?;
                let truck = Truck::new(&input.name(), &route, self.repeat)?;
                let interval = interval.unwrap_or(Duration::from_secs(1));
                Ok(Box::new(Receiver::new(truck, interval, self.time, self.seed)))
            }
        }
    }
}
