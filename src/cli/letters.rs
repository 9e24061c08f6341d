//! `waypost letters`: what could not go on, and what a person does with it.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::ask::Running;
use super::offline::{closed, failure};
use super::order::{Request, carry_out, encoded};
use super::progress::Progress;
use super::{Done, Failure, exit, print};
use crate::domain::{Action, Bulk, Class, Letter, LetterFilter, LetterStand, Order, Reason, Stage, UnixMs, Which};
use crate::wire;

/// Letters that one list shows.
const SHOWN: usize = 500;
/// Characters of a read in a line of a list.
const READ_SHOWN: usize = 60;
/// What to do about a number that no letter has; the node says the same.
const NO_SUCH: &str = "`waypost letters list --state all` shows those there are.";
/// How often a running node is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Subcommand)]
pub(super) enum Letters {
    /// List open letters, newest first
    List(ListArgs),
    /// Show one letter: its bytes, what was done with it, and how many are like it
    Show {
        /// Its number
        #[arg(value_parser = number)]
        id: i64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Try letters again: scans with today's settings and register, and their original time; refused events are sent again
    /// under the id they have
    Retry(Chosen),
    /// Give letters up; within 30 days they can be opened again
    Discard {
        #[command(flatten)]
        chosen: Chosen,
        /// More than one, without being asked
        #[arg(long)]
        yes: bool,
    },
    /// Open letters again that were given up within 30 days
    Restore(Chosen),
    /// Do no more of what was asked of many letters; what is done stays
    Stop {
        /// The number of the job
        job: i64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Which letters are listed.
#[derive(Args)]
pub(super) struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Show noise too: sentences that line noise spoiled
    #[arg(long)]
    all: bool,
    /// Only of this reason
    #[arg(long, value_parser = reason)]
    reason: Option<Reason>,
    /// Only of this source
    #[arg(long)]
    source: Option<String>,
    /// Only lost here: source, decoder, store, uplink
    #[arg(long, value_parser = stage)]
    stage: Option<Stage>,
    /// Those that stand so: open, retried, discarded, expired, all
    #[arg(long, default_value = "open")]
    state: String,
    /// Only received at or after this time, like 2026-11-20T10:00:00Z
    #[arg(long, value_parser = time)]
    from: Option<UnixMs>,
    /// Only received before this time
    #[arg(long, value_parser = time)]
    to: Option<UnixMs>,
    /// Only those with this in their bytes, detail or note
    #[arg(long)]
    text: Option<String>,
}

/// Which letters, and why.
#[derive(Args)]
pub(super) struct Chosen {
    /// Their numbers
    #[arg(value_parser = number, required_unless_present_any = ["reason", "source"], conflicts_with_all = ["reason", "source"])]
    ids: Vec<i64>,
    /// All of this reason
    #[arg(long, requires = "expect", value_parser = reason)]
    reason: Option<Reason>,
    /// All of this source
    #[arg(long, requires = "expect")]
    source: Option<String>,
    /// How many they are; refused when they are not
    #[arg(long)]
    expect: Option<usize>,
    /// Why, kept with them
    #[arg(long, default_value = "")]
    note: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn reason(word: &str) -> Result<Reason, String> {
    Reason::from_code(word)
        .ok_or_else(|| format!("{word:?} is no reason; `waypost letters list` shows those there are"))
}

fn number(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| "give the number of a letter; `waypost letters list` shows them".to_owned())
}

fn stage(word: &str) -> Result<Stage, String> {
    Stage::from_word(word).ok_or_else(|| "give source, decoder, store or uplink".to_owned())
}

fn time(text: &str) -> Result<UnixMs, String> {
    let at: jiff::Timestamp = text.parse().map_err(|error| format!("{error}; write it like 2026-11-20T10:00:00Z"))?;
    Ok(at.as_millisecond())
}

/// `waypost letters …`
pub(super) fn letters(config: &Path, command: Letters) -> Done {
    match command {
        Letters::List(args) => list(config, args),
        Letters::Show { id, json } => show(config, id, json),
        Letters::Retry(chosen) => act(config, Action::Retry, chosen),
        Letters::Restore(chosen) => act(config, Action::Restore, chosen),
        Letters::Discard { chosen, yes } => {
            let many = chosen.ids.len() != 1;
            if many && !yes && !asked(&chosen)? {
                return Err(Failure::new(exit::USAGE, "nothing was given up: more than one letter wants --yes"));
            }
            act(config, Action::Discard, chosen)
        }
        Letters::Stop { job, json } => {
            let job = carry_out(config, Order::Stop(job))?;
            if json {
                return print(&format!("{job:#}\n"));
            }
            print(&format!("job {} {}: {} of {} letters\n", job["job"], word(&job, "state"), job["done"], job["total"]))
        }
    }
}

/// Asks on a terminal; nobody there has not said yes.
fn asked(chosen: &Chosen) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    let n = chosen.expect.unwrap_or(chosen.ids.len());
    eprint!("give up {n} letters? They can be restored for 30 days. [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn act(config: &Path, action: Action, chosen: Chosen) -> Done {
    let Chosen { ids, reason, source, expect, note, json } = chosen;
    let which = if ids.is_empty() {
        Which::All(LetterFilter { reason, source, ..LetterFilter::default() })
    } else {
        Which::Numbers(ids)
    };
    let job = carry_out(config, Order::Letters(Bulk { action, which, expect, note, key: None }))?;
    let job = followed(config, job)?;
    if json {
        print(&format!("{job:#}\n"))?;
    } else {
        print(&settled(&job, action))?;
    }
    let well = job["failed_again"] == 0 && job["skipped"] == 0 && job["state"] == "done";
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::from(exit::NOT_WELL) })
}

/// Waits for the end of a job that a node carries out, and shows on a terminal how far it is. Whoever stops waiting stops
/// nothing: `waypost letters stop` does.
fn followed(config: &Path, mut job: Value) -> Result<Value, Failure> {
    let mut progress = Progress::new("letters");
    while job["state"] == "running" {
        progress.tell(job["done"].as_u64().unwrap_or(0), job["total"].as_u64());
        std::thread::sleep(LOOK_EVERY);
        let gone = || {
            let text = format!("the node went away; it goes on with job {} when it is back", job["job"]);
            Failure::new(exit::UNAVAILABLE, text)
        };
        let node = Running::find(config)?.ok_or_else(gone)?;
        job = node.get(&format!("/letters/actions/{}", job["job"]))?;
    }
    progress.end();
    Ok(job)
}

/// What became of letters.
fn settled(job: &Value, action: Action) -> String {
    let what = match action {
        Action::Retry => "retried",
        Action::Discard => "discarded",
        Action::Restore => "restored",
    };
    let mut text = format!("{} {what}\n", job["ok"]);
    let left = job["left"].as_array().map_or(&[][..], Vec::as_slice);
    for one in left {
        let why = word(one, "why");
        let how = if Reason::from_code(&why).is_some() { "still open" } else { "as it was" };
        text.push_str(&format!("letter {} is {how}: {why}\n", one["letter"]));
    }
    let n = |key: &str| job[key].as_u64().unwrap_or(0);
    let more = (n("failed_again") + n("skipped")).saturating_sub(left.len() as u64);
    if more > 0 {
        text.push_str(&format!("and {more} more like these\n"));
    }
    if job["state"] == "stopped" {
        text.push_str(&format!("stopped after {} of {}\n", job["done"], job["total"]));
    }
    text
}

fn word(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or("-").to_owned()
}

fn list(config: &Path, args: ListArgs) -> Done {
    let ListArgs { json: as_json, all, reason, source, stage, state, from, to, text } = args;
    let stand = match state.as_str() {
        "all" => None,
        word => Some(LetterStand::from_word(word).ok_or_else(|| {
            Failure::new(exit::USAGE, format!("--state {word:?}: give open, retried, discarded, expired or all"))
        })?),
    };
    let class = (!all && reason.is_none()).then_some(Class::Decide);
    let filter = LetterFilter { stand, reason, source, stage, class, from_ms: from, to_ms: to, text, in_bytes: true };
    let letters: Vec<Value> = match Running::find(config)? {
        Some(node) => {
            let answer: Value = node.get(&address(&filter, &state))?;
            answer["items"].as_array().cloned().unwrap_or_default()
        }
        None => {
            let found =
                closed(config)?.read(|reader| reader.find_letters(&filter, i64::MAX, SHOWN)).map_err(failure)?;
            found.iter().map(as_asked).collect()
        }
    };
    if as_json {
        return print(&format!("{:#}\n", Value::Array(letters)));
    }
    print(&listed(&letters))
}

/// As a running node answers it.
fn as_asked(letter: &Letter) -> Value {
    serde_json::from_str(&wire::letter(letter, true)).unwrap_or_default()
}

fn address(filter: &LetterFilter, state: &str) -> String {
    let LetterFilter { reason, source, stage, class, from_ms, to_ms, text, .. } = filter;
    let mut path = format!("/letters?limit={SHOWN}&state={state}&all={}", u8::from(class.is_none()));
    let numbers = [("from", from_ms), ("to", to_ms)].map(|(name, at)| (name, at.map(|at| at.to_string())));
    let words = [
        ("reason", reason.map(|reason| reason.as_str().to_owned())),
        ("stage", stage.map(|stage| stage.as_str().to_owned())),
        ("source", source.clone()),
        ("q", text.clone()),
    ];
    for (name, value) in words.into_iter().chain(numbers) {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", encoded(&value)));
        }
    }
    path
}

fn listed(letters: &[Value]) -> String {
    let mut text = String::new();
    for letter in letters {
        let at = wire::rfc3339(letter["received_ms"].as_i64().unwrap_or(0));
        let (reason, source, shown) = (word(letter, "reason"), word(letter, "source"), word(letter, "bytes"));
        let stand = match (letter["state"].as_str(), letter["resend"] == true) {
            (_, true) => " (being sent again)".to_owned(),
            (Some("open") | None, _) => String::new(),
            (Some(state), _) => format!(" ({state})"),
        };
        let shown = clipped(&shown);
        text.push_str(&format!("{:>6} {at} {reason:<16} {source:<12} {shown}{stand}\n", letter["letter"]));
    }
    if letters.is_empty() {
        text.push_str("no open letters\n");
    }
    let reasons: BTreeSet<[String; 3]> =
        letters.iter().map(|letter| ["reason", "text", "advice"].map(|key| word(letter, key))).collect();
    for [reason, what, advice] in reasons {
        text.push_str(&format!("\n{reason}: {what} {advice}"));
    }
    text.push_str(if letters.is_empty() { "" } else { "\n" });
    text
}

/// What of a read fits into a line of a list; `show` has all of it.
fn clipped(shown: &str) -> String {
    let mut rest = shown.chars();
    let mut text: String = rest.by_ref().take(READ_SHOWN).collect();
    if rest.next().is_some() {
        text.push('…');
    }
    text
}

fn show(config: &Path, id: i64, as_json: bool) -> Done {
    let letter: Value = match Running::find(config)? {
        Some(node) => node.get(&format!("/letters/{id}"))?,
        None => {
            let sheet = closed(config)?.read(|reader| reader.letter(id)).map_err(failure)?;
            let missing = || Failure::new(exit::NOT_WELL, format!("there is no letter {id}. {NO_SUCH}"));
            serde_json::from_str(&wire::letter_sheet(&sheet.ok_or_else(missing)?, true)).unwrap_or_default()
        }
    };
    print(&if as_json { format!("{letter:#}\n") } else { described(&letter) })
}

fn described(letter: &Value) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let mut line = |what: &str, how: String| {
        if !how.is_empty() && how != "-" {
            // Writing into a string cannot fail.
            writeln!(text, "{what:<9} {}", wire::printable_text(&how)).unwrap_or_default();
        }
    };
    let at = |value: &Value| wire::rfc3339(value.as_i64().unwrap_or(0));
    let state =
        if letter["resend"] == true { "open, its event is being sent again".into() } else { word(letter, "state") };
    line("letter", format!("{}, {state}", letter["letter"]));
    line("reason", format!("{} at the {}", word(letter, "reason"), word(letter, "stage")));
    line("", format!("{} {}", word(letter, "text"), word(letter, "advice")));
    line("source", word(letter, "source"));
    line("peer", word(letter, "peer"));
    line("received", at(&letter["received_ms"]));
    line("detail", word(letter, "detail"));
    line("note", word(letter, "note"));
    if letter["seq"].is_i64() {
        line("event", format!("seq {}, {}", letter["seq"], letter["event"].as_str().unwrap_or("no longer in the log")));
    }
    for one in letter["attempts"].as_array().into_iter().flatten() {
        line(
            "done",
            format!("{} {} by {}: {}", at(&one["at_ms"]), word(one, "what"), word(one, "who"), word(one, "came")),
        );
    }
    let near = &letter["nearby"];
    line(
        "nearby",
        format!(
            "{} open of this reason, {} of them of this source; {} of this source within an hour",
            near["reason"], near["reason_and_source"], near["source_within_an_hour"]
        ),
    );
    if letter["sampled"].as_i64().is_some_and(|n| n > 0) {
        line("", format!("{} more of this reason and source were only counted", letter["sampled"]));
    }
    let (hex, ascii) = (word(letter, "hex"), word(letter, "ascii"));
    line("bytes", format!("{} of {}", ascii.len(), letter["length"]));
    for (at, (hex, ascii)) in hex.as_bytes().chunks(32).zip(ascii.as_bytes().chunks(16)).enumerate() {
        let pairs: Vec<String> = hex.chunks(2).map(|two| String::from_utf8_lossy(two).into_owned()).collect();
        line("", format!("{:04x}  {:<47}  {}", at * 16, pairs.join(" "), String::from_utf8_lossy(ascii)));
    }
    text
}

/// The call that asks something of letters.
pub(super) fn request(bulk: &Bulk) -> Request {
    let mut body = json!({ "action": bulk.action.as_str(), "expect": bulk.expect, "note": bulk.note });
    match &bulk.which {
        Which::Numbers(ids) => body["ids"] = json!(ids),
        Which::All(filter) => {
            body["filter"] = json!({ "reason": filter.reason.map(Reason::as_str), "source": filter.source });
        }
    }
    Request {
        method: "POST",
        path: "/letters/actions".to_owned(),
        mime: "application/json",
        body: body.to_string().into_bytes(),
        ..Request::default()
    }
}
