//! Who is alive and how everything is. Everyone may beat, post and count here; nobody is known here.

pub mod alarms;
mod beat;
mod board;
pub mod chore;
pub mod export;
mod labels;
mod light;
mod load;
mod sample;
mod seat;
mod supervisor;
mod tally;
mod watchdog;
pub mod wedge;
mod worker;

pub use beat::{Beat, PARKED_MAX, Roster};
pub use board::{
    Alarm, Board, ClockState, DiskState, Posted, Severity, SourceCondition, SourceState, State, UplinkState,
    WorkerState, ZonesState,
};
pub use chore::{AlreadyRunning, Chore, ChoreState};
pub use labels::{
    CommandKind, CommandOutcome, FrameOutcome, LetterState, PortOutcome, ReconnectReason, RestartReason, StoreFile,
    StreamDrop, StreamOpen, publish_code,
};
pub use light::{ABSENT_ALARM, Light, SILENT_ALARM};
pub use sample::{Build, ProcessUse, Sample, SourceFrames, SourceSample};
pub use supervisor::{End, GaveUp, Restart, Running, Supervisor};
pub use tally::{NAMES_MAX, Tally};
pub use watchdog::Notify;
pub use worker::{Body, Ctx, Outcome, Worker};
