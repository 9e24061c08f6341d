//! The nouns of waypost: values without I/O, clock or wire format. Everything that travels between rooms is one of these.

mod event;
mod fix;
mod letter;
mod loss;
mod order;
mod place;
mod scan;
mod standing;
mod time;

pub use event::{Cursor, CursorError, Epoch, EventId, Kind, Lane, Row, Seq};
pub use fix::{Doubt, Fix, Mode};
pub use letter::{
    Action, Bulk, Job, JobState, Letter, LetterFilter, LetterGroup, LetterSheet, LetterStand, Step, Which,
};
pub use loss::{Class, Loss, Reason, Stage, Warn};
pub use order::{Carried, Done, ListForm, Order, Refused, Registered, Thing, Why};
pub use place::{AssetState, By, Change, PlaceSaid, Said, SaidKey, Turn};
pub use scan::{Scan, ScanKind};
pub use standing::{Binding, Standing};
pub use time::{Stamp, TimeQuality, UnixMs};
