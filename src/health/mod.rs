//! Who is alive and how everything is. Everyone may beat, post and count here; nobody is known here.

mod beat;
mod board;
mod light;
pub mod wedge;
mod worker;

pub use beat::{Beat, PARKED_MAX};
pub use board::{
    Alarm, Board, ClockState, DiskState, Posted, Severity, SourceCondition, SourceState, State, UplinkState,
    WorkerState,
};
pub use light::{ABSENT_ALARM, Light, SILENT_ALARM};
pub use worker::{Body, Ctx, Outcome, Worker};
