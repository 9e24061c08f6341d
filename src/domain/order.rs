//! What a person asks of a running node, and what became of it.

use super::{Bulk, EventId, Job, Standing, UnixMs};

/// An asset as it stands in the register: a thing that people name, and the codes it can be known by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thing {
    /// Its name in events and on the screen: 1 to 64 printable characters.
    pub asset: String,
    /// What people call it; empty when that is its id.
    pub name: String,
    /// trailer, container, pallet …: a word for people; empty when none is given.
    pub kind: String,
    /// Its codes as a person wrote them.
    pub codes: Vec<String>,
}

/// How a list of assets is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListForm {
    /// RFC 4180 with a header line.
    Csv,
    /// An array of objects.
    Json,
}

/// What a person asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// To put one asset into the register, whole.
    Register(Thing),
    /// To take one out.
    Delete(String),
    /// To put a list of assets into the register, all or none.
    Import {
        /// The list as it was sent.
        bytes: Vec<u8>,
        /// How it is written.
        form: ListForm,
        /// Whether assets that are not in it are taken out.
        replace: bool,
    },
    /// To say where an asset is now; none: at no known place.
    Place {
        /// The asset, or a code of it.
        asset: String,
        /// The place.
        place: Option<String>,
        /// Why, for the audit.
        note: String,
    },
    /// To enter a label that no scanner can read.
    Scan {
        /// What is printed on it.
        code: String,
        /// Where it is.
        place: Option<String>,
    },
    /// To put another plan of the yard in the place of the one that is kept.
    Plan {
        /// GeoJSON as it was sent.
        bytes: Vec<u8>,
        /// The revision that the person has seen; none: whatever is there.
        expect: Option<i64>,
    },
    /// To do something with letters; what becomes of it is a [`Job`].
    Letters(Bulk),
    /// To do no more of a job.
    Stop(i64),
    /// To go on under its name on the machine it runs on.
    Accept,
    /// To end the node.
    Retire,
    /// To note that the configuration gives the node another name from its next start on: `site/id` before and after.
    Renamed(String, String),
}

/// What became of an asset of the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// It is new.
    Added,
    /// It is not what it was.
    Changed,
    /// It was like that before.
    Unchanged,
}

/// What became of an order that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// One asset.
    Registered(Registered),
    /// It is out of the register; the name its place goes on under, when it has one.
    Deleted(Option<String>),
    /// A list.
    Imported {
        /// New ones.
        added: usize,
        /// Those that are not what they were.
        changed: usize,
        /// Those that were like that before.
        unchanged: usize,
        /// Those that were taken out.
        removed: usize,
    },
    /// An asset is where the person says.
    Placed {
        /// The asset.
        asset: String,
        /// Where it was.
        was: Option<String>,
        /// The newest event that says so; none when it was there already.
        id: Option<EventId>,
    },
    /// A label is an event.
    Scanned {
        /// The event.
        id: EventId,
        /// The asset it names.
        asset: String,
        /// Its canonical key.
        key: String,
    },
    /// A plan is in force.
    Planned {
        /// Its revision, from 1.
        rev: i64,
        /// How many zones it has.
        zones: usize,
        /// Fixes up to this time stood to the zones of a plan before it.
        after_ms: UnixMs,
    },
    /// Something is being done with letters.
    Letters(Job),
    /// How the node stands to the platform now.
    Stands(Standing),
}

/// An order that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// What became of it.
    pub done: Done,
    /// Assets whose state or name is another one now, or that are gone.
    pub touched: Vec<String>,
}

/// Why an order was not carried out. Nothing of it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What kind of refusal.
    pub why: Why,
    /// What is wrong, where, with which value.
    pub message: String,
    /// What to do.
    pub hint: String,
    /// Every mistake of a list, with line or item, field, value and remedy.
    pub findings: Vec<String>,
    /// How many there are, when that is not what the person believes.
    pub now: Option<usize>,
}

/// A kind of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It cannot be understood, or breaks a rule.
    Invalid,
    /// What it is about is not there.
    NotFound,
    /// A code belongs to another asset.
    Conflict,
    /// There are more or fewer than the person believes.
    CountChanged,
    /// Somebody else changed the plan meanwhile.
    PlanChanged,
    /// The plan is a file: it is not changed here.
    PlanIsFile,
    /// No asset has this key, and new ones are held.
    UnknownTag,
    /// Too many orders wait already.
    Busy,
    /// The store does not take it now.
    Store,
}

impl Why {
    /// The word in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::CountChanged => "count_changed",
            Self::PlanChanged => "plan_changed",
            Self::PlanIsFile => "plan_is_file",
            Self::UnknownTag => "unknown_tag",
            Self::Busy => "busy",
            Self::Store => "store_unavailable",
        }
    }
}

impl Refused {
    /// A refusal without findings.
    #[must_use]
    pub fn new(why: Why, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { why, message: message.into(), hint: hint.into(), findings: Vec::new(), now: None }
    }
}
