//! How a node stands to the platform: whether it may speak there under its name.

/// Whether the node may speak under its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    #[default]
    Sound,
    /// Its store woke on another machine than the one it is bound to: it waits for a person.
    Stranger,
    /// A person ends it: what waits goes out, then what it left at the broker is taken off.
    Retiring,
    /// It has ended.
    Retired,
}

impl Standing {
    /// The word in answers and figures.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sound => "sound",
            Self::Stranger => "stranger",
            Self::Retiring => "retiring",
            Self::Retired => "retired",
        }
    }

    /// Whether nothing may be sent.
    #[must_use]
    pub const fn is_mute(self) -> bool {
        matches!(self, Self::Stranger | Self::Retired)
    }
}

/// To which machine a node is bound, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    /// How the node stands.
    pub standing: Standing,
    /// The kinds of facts it is bound by, the strongest first; empty when it is bound to none.
    pub by: Vec<String>,
    /// A name of the machine it is bound to: 8 hex digits that tell nothing of its serial numbers.
    pub machine: Option<String>,
    /// The same of the machine it woke on, when that is another.
    pub woke_on: Option<String>,
}
