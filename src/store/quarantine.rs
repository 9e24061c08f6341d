//! The folder where damaged files are kept, one folder a find, with a manifest that says what it was and what came of it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::domain::UnixMs;

use super::settle::{Finding, missing};

/// The folder in `store.dir`.
const FOLDER: &str = "quarantine";
const MANIFEST: &str = "manifest.json";
/// The files of a store, in the order in which they are moved: the database last, for without it the others are nothing.
const FILES: [&str; 3] = ["waypost.db-wal", "waypost.db-shm", "waypost.db"];
/// Finds that are kept; a card that damages more of them is to be replaced, and the disk must not fill.
const KEPT: usize = 4;

/// What a folder of the quarantine holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// When it was found, by the wall clock. UTC ms
    pub(super) found_ms: UnixMs,
    /// What was wrong, in SQLite's words.
    pub(super) why: String,
    /// What came of it; none while it is being salvaged.
    pub(super) salvaged: Option<Came>,
}

/// What a salvage came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Came {
    /// Events saved.
    pub(super) events: i64,
    /// Events lost, as ranges of seq.
    pub(super) lost: Vec<(i64, i64)>,
    /// Tables that could not be read whole.
    pub(super) torn: Vec<String>,
}

/// Tables in the words of people, each once.
fn in_words(torn: &[String]) -> String {
    let mut words: Vec<&str> = Vec::new();
    for table in torn {
        let word = match table.as_str() {
            "zones" => "the plan of the yard",
            "assets" | "asset_keys" => "the register of assets",
            "letters" | "steps" | "jobs" => "letters",
            "places" | "said" | "turns" | "voids" | "fences" | "base" | "carriers" => "places and their history",
            "boots" | "runs" | "walls" | "anchors" | "spans" => "what is known of the clock",
            "audit" => "the audit",
            "inbound_log" | "outbound_log" | "failure_log" => "the logs",
            "sheets" => "test sheets",
            "windows" => "repeats under way",
            _ => "counts and cursors",
        };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words.join(", ")
}

/// One folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) folder: PathBuf,
    pub(super) manifest: Manifest,
}

impl Case {
    /// Opens a case and moves the store there.
    pub(super) fn open(dir: &Path, why: &str, found_ms: UnixMs) -> io::Result<Self> {
        forget_old(dir)?;
        let case = Self {
            folder: name(&dir.join(FOLDER), found_ms),
            manifest: Manifest { found_ms, why: why.to_owned(), salvaged: None },
        };
        fs::create_dir_all(&case.folder)?;
        case.note()?;
        sync(&dir.join(FOLDER))?;
        case.fill(dir)?;
        Ok(case)
    }

    /// A case whose salvage was cut off.
    pub(super) fn unfinished(dir: &Path) -> Option<Self> {
        cases(dir).into_iter().find(|case| case.manifest.salvaged.is_none())
    }

    /// The newest case that came to an end.
    pub(super) fn newest(dir: &Path) -> Option<Self> {
        cases(dir).pop().filter(|case| case.manifest.salvaged.is_some())
    }

    /// Whether what was salvaged is in place already: the database is there and in the case.
    pub(super) fn is_in_place(&self, dir: &Path) -> bool {
        self.database().exists() && dir.join(FILES[2]).exists()
    }

    /// The damaged database.
    pub(super) fn database(&self) -> PathBuf {
        self.folder.join(FILES[2])
    }

    /// Its write-ahead log.
    pub(super) fn wal(&self) -> PathBuf {
        self.folder.join(FILES[0])
    }

    /// Moves what has not been moved.
    pub(super) fn fill(&self, dir: &Path) -> io::Result<()> {
        for file in FILES {
            let (from, to) = (dir.join(file), self.folder.join(file));
            if from.exists() && !to.exists() && !self.database().exists() {
                fs::rename(from, to)?;
            }
        }
        sync(&self.folder)?;
        sync(dir)
    }

    /// Writes down what is known of it.
    pub(super) fn note(&self) -> io::Result<()> {
        let draft = self.folder.join(format!("{MANIFEST}.tmp"));
        let mut file = File::create(&draft)?;
        file.write_all(serde_json::to_string_pretty(&self.manifest)?.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, self.folder.join(MANIFEST))?;
        sync(&self.folder)
    }

    /// What a person should know of it as long as the folder is there.
    pub(super) fn finding(&self) -> Option<Finding> {
        let Manifest { found_ms, why, salvaged } = &self.manifest;
        let Came { events, lost, torn } = salvaged.as_ref()?;
        let torn = match torn.as_slice() {
            [] => String::new(),
            torn => format!(" Not read whole: {}.", in_words(torn)),
        };
        let folder = self.folder.display();
        Some(Finding {
            name: "store_salvaged",
            text: format!(
                "The store was damaged ({why}). {events} events were saved, {}.{torn} The damaged file is in {folder}.",
                missing(lost)
            ),
            advice: format!(
                "Check the card and its supply, replace it. The alarm ends with the start after {folder} was moved away; \
                 see docs/operating/corrupt-store.md."
            ),
            at_ms: *found_ms,
        })
    }
}

/// The cases in their order.
fn cases(dir: &Path) -> Vec<Case> {
    let Ok(entries) = fs::read_dir(dir.join(FOLDER)) else { return Vec::new() };
    let folders = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let mut cases: Vec<Case> = folders
        .filter_map(|folder| {
            let text = fs::read_to_string(folder.join(MANIFEST)).ok()?;
            Some(Case { manifest: serde_json::from_str(&text).ok()?, folder })
        })
        .collect();
    cases.sort_by(|one, other| one.folder.cmp(&other.folder));
    cases
}

/// Makes room for one more.
fn forget_old(dir: &Path) -> io::Result<()> {
    let cases = cases(dir);
    for case in cases.iter().take((cases.len() + 1).saturating_sub(KEPT)) {
        tracing::warn!(folder = %case.folder.display(), "the oldest damaged store makes room for a newer one");
        fs::remove_dir_all(&case.folder)?;
    }
    Ok(())
}

/// A folder that is not there yet, named after the time: in the order of names whatever the clock says.
fn name(parent: &Path, found_ms: UnixMs) -> PathBuf {
    let at = jiff::Timestamp::from_millisecond(found_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let stem = at.strftime("%Y%m%dT%H%M%SZ").to_string();
    let named = |n: u32| parent.join(if n == 0 { stem.clone() } else { format!("{stem}-{n}") });
    (0..).map(named).find(|path| !path.exists()).unwrap_or_else(|| parent.join(&stem))
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
