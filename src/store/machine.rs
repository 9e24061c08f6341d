//! To which machine the store is bound. A copied card that wakes in another one is noticed at the opening, before an event is
//! written that would stand under a place in the log which the other node gives too. A person says which one goes on.

use rusqlite::Connection;

use crate::domain::{Binding, Standing, UnixMs};

use super::error::Result;
use super::settle::Finding;
use super::txn::Txn;
use super::{Look, Reader};

/// The kinds of facts, the strongest first: the first that is known of both machines decides.
const KINDS: [&str; 4] = ["board", "soc", "dmi", "nic"];
/// Facts that are kept at most; a machine that shows more is known by these.
const FACTS_MAX: usize = 32;
/// In `meta`: a person ends the node, and how far that is: `asked`, `done`.
const RETIRED: &str = "retired";
/// In `meta`: the name of the node while the store still was where it is bound to.
const NAMESAKE: &str = "namesake";
/// Of a digest.
const BYTES: usize = 16;

/// Something that tells this machine from all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// `board`, `soc`, `dmi`, `nic`.
    pub kind: &'static str,
    /// Its serial number. It is kept nowhere: only a digest is, under a key of the store.
    pub serial: String,
}

/// How the machine stands to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woke {
    /// The store is bound to none yet.
    Unbound,
    /// It is the one the store is bound to.
    Home,
    /// It is another, and was the last time.
    StillAway,
    /// It is another, for the first time.
    Away,
    /// Nothing is known of both that could be compared.
    Unknown,
}

/// What is kept of the machines of a store.
struct Kept {
    kind: String,
    key: Vec<u8>,
    digest: Vec<u8>,
}

impl Kept {
    fn is(&self, fact: &Fact) -> bool {
        self.kind == fact.kind && self.digest == digest(&self.key, fact)
    }
}

fn digest(key: &[u8], Fact { kind, serial }: &Fact) -> [u8; BYTES] {
    let mut hasher = blake3::Hasher::new_keyed(blake3::hash(key).as_bytes());
    hasher.update(kind.as_bytes()).update(&[0]).update(serial.as_bytes());
    let mut short = [0; BYTES];
    short.copy_from_slice(&hasher.finalize().as_bytes()[..BYTES]);
    short
}

fn kept(conn: &Connection, accepted: bool) -> rusqlite::Result<Vec<Kept>> {
    conn.prepare_cached("select kind, key, digest from machine where accepted = ?1")?
        .query_map([accepted], |row| Ok(Kept { kind: row.get(0)?, key: row.get(1)?, digest: row.get(2)? }))?
        .collect()
}

/// Whether these are facts of one machine; none when no kind is known of both.
fn is_same(kept: &[Kept], facts: &[Fact]) -> Option<bool> {
    let has = |kind: &str| kept.iter().any(|one| one.kind == kind) && facts.iter().any(|fact| fact.kind == kind);
    let kind = KINDS.into_iter().find(|kind| has(kind))?;
    Some(facts.iter().filter(|fact| fact.kind == kind).any(|fact| kept.iter().any(|one| one.is(fact))))
}

/// Whether the machine is the one the store is bound to. Changes nothing.
pub(super) fn look(conn: &Connection, facts: &[Fact]) -> rusqlite::Result<Woke> {
    let home = kept(conn, true)?;
    Ok(match is_same(&home, facts) {
        _ if home.is_empty() && !facts.is_empty() => Woke::Unbound,
        None => Woke::Unknown,
        Some(true) => Woke::Home,
        Some(false) if is_same(&kept(conn, false)?, facts) == Some(true) => Woke::StillAway,
        Some(false) => Woke::Away,
    })
}

/// Writes down what came of a look; `key` is random.
pub(super) fn write_down(conn: &Connection, woke: Woke, facts: &[Fact], key: u64) -> rusqlite::Result<()> {
    match woke {
        Woke::Unknown | Woke::StillAway => Ok(()),
        Woke::Unbound => add(conn, facts, key, true),
        Woke::Home => {
            conn.execute("delete from machine where accepted = 0", [])?;
            conn.execute("delete from meta where k = ?1", [NAMESAKE])?;
            // A card that was plugged in since is known the next time.
            let home = kept(conn, true)?;
            let new: Vec<Fact> = facts.iter().filter(|fact| !home.iter().any(|one| one.is(fact))).cloned().collect();
            let room = FACTS_MAX.saturating_sub(home.len());
            add(conn, &new[..new.len().min(room)], key, true)
        }
        Woke::Away => {
            conn.execute("delete from machine where accepted = 0", [])?;
            let name = "insert or ignore into meta select ?1, site || '/' || node from runs order by run desc limit 1";
            conn.execute(name, [NAMESAKE])?;
            add(conn, facts, key, false)
        }
    }
}

fn add(conn: &Connection, facts: &[Fact], key: u64, accepted: bool) -> rusqlite::Result<()> {
    let key = key.to_be_bytes();
    let mut add = conn.prepare_cached("insert into machine (kind, key, digest, accepted) values (?1, ?2, ?3, ?4)")?;
    for fact in facts.iter().take(FACTS_MAX) {
        add.execute((fact.kind, key.as_slice(), digest(&key, fact).as_slice(), accepted))?;
    }
    Ok(())
}

/// What keeps a node from speaking under its name, for people; none when nothing does.
#[must_use]
pub fn standing_finding(standing: Standing, at_ms: UnixMs) -> Option<Finding> {
    match standing {
        Standing::Stranger => Some(stranger(at_ms)),
        Standing::Retired => Some(Finding {
            name: "retired",
            text: "This node has ended: what it left at the broker is taken off, and nothing goes to the platform any more.".into(),
            advice: "`waypost identity accept` lets it go on; else stop it: `systemctl disable --now waypost`.".into(),
            at_ms,
        }),
        Standing::Sound | Standing::Retiring => None,
    }
}

/// A store that woke on another machine, for people.
pub(super) fn stranger(at_ms: UnixMs) -> Finding {
    Finding {
        name: "identity",
        text: "The card woke in another machine: it is a copy, or it was moved. Events are stored here and wait; nothing goes \
               to the platform."
            .into(),
        advice: "`waypost identity accept` when this is the only node of its name now; \
                 `waypost identity rename` first when the other one goes on."
            .into(),
        at_ms,
    }
}

/// How the node stands by what its store says.
pub(super) fn standing(conn: &Connection) -> rusqlite::Result<Standing> {
    if conn.prepare_cached("select 1 from machine where accepted = 0")?.exists([])? {
        // Before all: the copy of a node that ends must not take off what the node itself left at the broker.
        return Ok(Standing::Stranger);
    }
    let mut retired = conn.prepare_cached("select v from meta where k = ?1")?;
    let retired = retired.query_map([RETIRED], |row| row.get::<_, String>(0))?.next().transpose()?;
    Ok(match retired.as_deref() {
        None => Standing::Sound,
        Some("done") => Standing::Retired,
        Some(_) => Standing::Retiring,
    })
}

impl Reader<'_> {
    /// To which machine the store is bound, and how the node stands.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn binding(&self) -> Look<Binding> {
        let (home, away) = (kept(self.conn, true)?, kept(self.conn, false)?);
        let name = |kept: &[Kept]| {
            let strongest = KINDS.iter().find_map(|kind| kept.iter().find(|one| one.kind == *kind))?;
            Some(strongest.digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect())
        };
        let by = KINDS.iter().filter(|kind| home.iter().any(|one| one.kind == **kind));
        Ok(Binding {
            standing: standing(self.conn)?,
            by: by.map(|kind| (*kind).to_owned()).collect(),
            machine: name(&home),
            woke_on: name(&away),
        })
    }

    /// What this node leaves at the broker: bases, which end in a slash, and single retained topics.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn traces(&self) -> Look<Vec<String>> {
        self.conn.prepare_cached("select topic from traces order by topic")?.query_map([], |row| row.get(0))?.collect()
    }
}

impl Txn<'_> {
    /// Makes the machine that the store woke on its own, and a node that has ended go on. False when there was nothing to
    /// accept.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn accept_machine(&mut self) -> Result<bool> {
        let before = self.standing()?;
        if before == Standing::Stranger {
            self.run_sql("delete from machine where accepted = 1")?;
            self.run_sql("update machine set accepted = 1")?;
            // Under another name the node it was copied from goes on: what that one left at the broker is its own.
            self.run_sql(
                "delete from traces where exists (select 1 from meta m, runs r where m.k = 'namesake'
                   and r.run = (select max(run) from runs) and m.v <> r.site || '/' || r.node)",
            )?;
            self.run_sql("delete from meta where k = 'namesake'")?;
        }
        self.sql.execute("delete from meta where k = ?1", [RETIRED]).map_err(|e| self.err(&e))?;
        self.changed_standing()?;
        Ok(before != Standing::Sound)
    }

    /// Ends the node: `done` when what it left at the broker is taken off. Answers how it stands then.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn retire(&mut self, done: bool) -> Result<Standing> {
        // What has ended is not begun to be ended again, and who was let go on meanwhile has not ended.
        let asked = self.standing()?;
        if asked == if done { Standing::Retiring } else { Standing::Sound } {
            // Without an uplink it has left nothing anywhere.
            let how = if done || !self.heads.uplink { "done" } else { "asked" };
            self.sql
                .execute("insert or replace into meta values (?1, ?2)", (RETIRED, how))
                .map_err(|e| self.err(&e))?;
        }
        self.changed_standing()
    }

    /// Notes what this node leaves at the broker, before it does.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn leave_traces(&mut self, topics: &[String]) -> Result<()> {
        self.each_trace("insert or ignore into traces values (?1)", topics)
    }

    /// Notes that this node has taken it off again.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn take_off_traces(&mut self, topics: &[String]) -> Result<()> {
        self.each_trace("delete from traces where topic = ?1", topics)
    }

    /// How the node stands.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn standing(&self) -> Result<Standing> {
        standing(self.sql).map_err(|e| self.err(&e))
    }

    fn changed_standing(&mut self) -> Result<Standing> {
        self.heads.standing = self.standing()?;
        Ok(self.heads.standing)
    }

    fn each_trace(&mut self, sql: &str, topics: &[String]) -> Result<()> {
        let mut stmt = self.sql.prepare_cached(sql).map_err(|e| self.err(&e))?;
        topics.iter().try_for_each(|topic| stmt.execute([topic]).map(|_| ())).map_err(|e| self.err(&e))
    }

    fn run_sql(&mut self, sql: &str) -> Result<()> {
        self.sql.execute(sql, []).map(|_| ()).map_err(|e| self.err(&e))
    }
}
