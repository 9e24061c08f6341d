//! Commands of the centre: bytes in, verdict out. What arrives may come from anybody whom the broker lets publish there: it is
//! measured before it is read, has exactly the fields of its command, and none of its text becomes a topic but an id of plain
//! characters. Pure: no clock, no store.

use serde::{Deserialize, Serialize};

use crate::domain::{Epoch, Seq, UnixMs};
use crate::health::{CommandKind, CommandOutcome};

use super::payload::When;

/// A command with the longest id takes a quarter of it. Bytes.
pub(super) const BYTES_MAX: usize = 1024;
/// Characters of an id.
const ID_MAX: usize = 64;
/// Events that one replay may name.
const EVENTS_MAX: i64 = 100_000;
/// How far ahead a command may expire: as long its id is remembered at least. ms
pub(super) const MEMORY_MS: i64 = 7 * 86_400_000;
/// Stands for an id, and for a command, that cannot be told.
const NAMELESS: &str = "-";

/// A message on a topic of commands, cut to [`BYTES_MAX`] and one byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// The whole topic.
    pub topic: String,
    /// The beginning of the message: all of it, when it is not too long.
    pub payload: Vec<u8>,
    /// Whether the broker keeps it for whoever comes.
    pub retained: bool,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Events of a life of the store once more.
    Replay { epoch: Epoch, from: Seq, to: Seq },
    /// An answer.
    Ping,
    /// To know that the centre has everything up to there.
    Confirm { epoch: Epoch, through: Seq },
}

/// A command that can be carried out, unless it has been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub id: String,
    pub command: Command,
    pub expires_ms: UnixMs,
    /// Why it is not carried out, unless it has been already.
    pub refusal: Option<CommandOutcome>,
}

/// One that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// As far as it can be told.
    pub id: Option<String>,
    pub kind: CommandKind,
    /// The last level of its topic, where that is a plain word.
    pub word: String,
    pub outcome: CommandOutcome,
}

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub outcome: CommandOutcome,
    /// Events it is about: sent again, or confirmed.
    pub count: i64,
    /// Places of the log that were asked for and will not come.
    pub missing: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplayFields {
    id: String,
    expires_ms: UnixMs,
    epoch: String,
    from: i64,
    to: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PingFields {
    id: String,
    expires_ms: UnixMs,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfirmFields {
    id: String,
    expires_ms: UnixMs,
    epoch: String,
    through: i64,
}

/// All that is looked at of one that is not as it should be.
#[derive(Deserialize)]
struct Name {
    id: String,
}

#[derive(Serialize)]
struct Answer<'a> {
    id: &'a str,
    cmd: &'a str,
    ok: bool,
    reason: &'static str,
    count: i64,
    #[serde(skip_serializing_if = "is_none")]
    missing: i64,
    ts_ms: UnixMs,
    tq: &'static str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
const fn is_none(n: &i64) -> bool {
    *n == 0
}

impl Command {
    /// Its word.
    pub const fn kind(&self) -> CommandKind {
        match self {
            Self::Replay { .. } => CommandKind::Replay,
            Self::Ping => CommandKind::Ping,
            Self::Confirm { .. } => CommandKind::Confirm,
        }
    }

    /// Tells it from every other: an id stands for one of them.
    pub fn digest(&self) -> [u8; 32] {
        let said = match self {
            Self::Replay { epoch, from, to } => format!("replay {epoch} {from} {to}"),
            Self::Ping => "ping".to_owned(),
            Self::Confirm { epoch, through } => format!("confirm {epoch} {through}"),
        };
        *blake3::hash(said.as_bytes()).as_bytes()
    }
}

impl Reply {
    /// One without figures.
    pub const fn of(outcome: CommandOutcome) -> Self {
        Self { outcome, count: 0, missing: 0 }
    }

    /// Whether the command was carried out, or is being.
    pub const fn is_ok(&self) -> bool {
        matches!(self.outcome, CommandOutcome::Done | CommandOutcome::Running | CommandOutcome::Unchanged)
    }
}

/// The answer as it is published.
#[expect(clippy::expect_used, reason = "a plain struct of strings and numbers always serialises")]
pub(super) fn answer(id: Option<&str>, word: &str, reply: Reply, when: When) -> String {
    let Reply { outcome, count, missing } = reply;
    let (id, reason) = (id.unwrap_or(NAMELESS), outcome.as_str());
    let answer = Answer { id, cmd: word, ok: reply.is_ok(), reason, count, missing, ts_ms: when.ts_ms, tq: when.tq };
    serde_json::to_string(&answer).expect("a struct with string keys and numbers is JSON")
}

/// The last level of the topic that an answer goes to.
pub(super) fn answer_level(id: Option<&str>) -> &str {
    id.unwrap_or(NAMELESS)
}

/// Understands a message below `<base>/cmd/`. `floor_ms` is a time that has passed for sure; where `is_trusted`, it is now.
pub(super) fn read(heard: &Heard, base: &str, (floor_ms, is_trusted): (UnixMs, bool)) -> Result<Asked, Refusal> {
    let level = heard.topic.strip_prefix(base).and_then(|rest| rest.strip_prefix("/cmd/")).unwrap_or_default();
    let kind = CommandKind::ALL.iter().copied().find(|kind| kind.as_str() == level && *kind != CommandKind::Other);
    let word = if is_plain(level) { level } else { NAMELESS };
    let refuse = |id: Option<String>, outcome| Refusal {
        id,
        kind: kind.unwrap_or(CommandKind::Other),
        word: word.to_owned(),
        outcome,
    };
    if heard.payload.len() > BYTES_MAX {
        return Err(refuse(None, CommandOutcome::TooLarge));
    }
    let name = || serde_json::from_slice::<Name>(&heard.payload).ok().map(|name| name.id).filter(|id| is_plain(id));
    let Some(kind) = kind else { return Err(refuse(name(), CommandOutcome::Unknown)) };
    let parsed = fields(kind, &heard.payload);
    let (id, expires_ms, command) = parsed.ok_or_else(|| refuse(name(), CommandOutcome::Malformed))?;
    if !is_plain(&id) {
        return Err(refuse(None, CommandOutcome::BadId));
    }
    let refusal = if heard.retained {
        Some(CommandOutcome::Retained)
    } else if expires_ms <= floor_ms {
        Some(CommandOutcome::Expired)
    } else if is_trusted && expires_ms.saturating_sub(floor_ms) > MEMORY_MS {
        Some(CommandOutcome::ExpiresLate)
    } else {
        range(&command)
    };
    Ok(Asked { id, command, expires_ms, refusal })
}

fn fields(kind: CommandKind, payload: &[u8]) -> Option<(String, UnixMs, Command)> {
    match kind {
        CommandKind::Replay => {
            let ReplayFields { id, expires_ms, epoch, from, to } = serde_json::from_slice(payload).ok()?;
            Some((id, expires_ms, Command::Replay { epoch: epoch.parse().ok()?, from: Seq(from), to: Seq(to) }))
        }
        CommandKind::Ping => {
            let PingFields { id, expires_ms } = serde_json::from_slice(payload).ok()?;
            Some((id, expires_ms, Command::Ping))
        }
        CommandKind::Confirm => {
            let ConfirmFields { id, expires_ms, epoch, through } = serde_json::from_slice(payload).ok()?;
            Some((id, expires_ms, Command::Confirm { epoch: epoch.parse().ok()?, through: Seq(through) }))
        }
        CommandKind::Other => None,
    }
}

/// What is wrong with the places it names, whatever the store holds.
const fn range(command: &Command) -> Option<CommandOutcome> {
    match command {
        Command::Replay { from: Seq(from), to: Seq(to), .. } => {
            if *from < 1 || *to < *from {
                Some(CommandOutcome::BadRange)
            } else if *to - *from >= EVENTS_MAX {
                Some(CommandOutcome::TooMany)
            } else {
                None
            }
        }
        Command::Ping => None,
        Command::Confirm { through: Seq(through), .. } => {
            if *through < 1 {
                Some(CommandOutcome::BadRange)
            } else {
                None
            }
        }
    }
}

/// 1 to 64 letters, digits, `.` `_` `-`, beginning with a letter or digit: a level of a topic, and never [`NAMELESS`].
fn is_plain(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && text.len() <= ID_MAX
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
