//! A receiver as it is asked for: a log, a capture or a route, its pace, its faults.

use std::time::Duration;

use crate::clock::Clock;

use super::SimulateError;
use super::capture::Capture;
use super::input::Input;
use super::line::{Device, Session};
use super::receiver::{Model, Receiver};
use super::recording::Recording;
use super::replay::Replay;
use super::route;
use super::tape::{Tape, Time};
use super::truck::Truck;

/// Epochs a second that can be asked for.
const RATE_HZ: std::ops::RangeInclusive<f64> = 0.001..=1000.0;

/// What a simulated receiver plays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Track {
    /// A log: sentences, and whatever else is in it; or what `waypost capture` wrote.
    Log(Input),
    /// A route: GeoJSON LineString, or lines `lat,lon[,speed_mps[,stop_s[,wander_m]]]`.
    Route(Input),
}

/// A simulated GPS receiver on a pty.
#[derive(Clone, Debug)]
pub struct Gps {
    /// What every device has.
    pub device: Device,
    /// What it plays.
    pub track: Track,
    /// What it says of a route.
    pub model: Model,
    /// What time it says.
    pub time: Time,
    /// Epochs a second, 0.001..=1000; without it a log keeps its own pace and a route goes at 1.
    pub rate_hz: Option<f64>,
}

impl Gps {
    /// Reads what is to be played, makes the port and links it.
    ///
    /// # Errors
    /// [`SimulateError`]: the file, its content or the rate is bad, or the port or its link cannot be made.
    pub fn plug(self, clock: Clock) -> Result<Session, SimulateError> {
        let tape = self.tape()?;
        Session::plug(self.device, tape, clock)
    }

    pub(super) fn tape(&self) -> Result<Box<dyn Tape>, SimulateError> {
        let interval = match self.rate_hz {
            None => None,
            Some(rate) if RATE_HZ.contains(&rate) => Some(Duration::from_secs_f64(1.0 / rate)),
            Some(rate) => {
                let (name, problem) = (self.device.link.display().to_string(), format!("the rate is {rate} Hz"));
                return Err(SimulateError::content(name, problem, "give 0.001 to 1000"));
            }
        };
        match &self.track {
            Track::Log(input) => self.log(input, interval),
            Track::Route(input) => {
                let route = route::parse(&input.name(), &input.read("the route")?)?;
                let truck = Truck::new(&input.name(), &route, self.device.repeat)?;
                let interval = interval.unwrap_or(Duration::from_secs(1));
                Ok(Box::new(Receiver::new(truck, interval, self.time, self.model, self.device.seed)))
            }
        }
    }

    fn log(&self, input: &Input, interval: Option<Duration>) -> Result<Box<dyn Tape>, SimulateError> {
        let (bytes, repeat) = (input.read("the log")?, self.device.repeat);
        let empty = || SimulateError::content(input.name(), "it is empty", "give a log with sentences");
        let Some(capture) = Capture::of(&input.name(), &bytes)? else {
            return Ok(Box::new(Recording::new(bytes, interval, self.time, repeat).ok_or_else(empty)?));
        };
        capture.expect_kind(&input.name(), "gps")?;
        if interval.is_some() {
            // At a rate of its own it is a log like any other: when its bytes came does not matter.
            let tape = Recording::new(capture.bytes(), interval, self.time, repeat);
            return Ok(Box::new(tape.ok_or_else(empty)?));
        }
        let tape = match self.time {
            Time::Recorded => Replay::exact(capture, repeat),
            Time::Now => Replay::restamped(capture, repeat),
        };
        Ok(Box::new(tape.ok_or_else(empty)?))
    }
}
