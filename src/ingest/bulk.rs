//! What is asked of letters: retry, discard, restore, of some or of all that a filter means. It is written down as a job in
//! the transaction that counts them, and then carried out in slices, each a transaction with its audit row: a scan never
//! waits long behind it, a crash between loses nothing and does nothing twice, and it can be stopped.

use serde::{Deserialize, Serialize};

use crate::domain::{
    Action, Bulk, Carried, Class, Done, Job, JobState, LetterFilter, Reason, Refused, Stage, UnixMs, Which, Why,
};
use crate::health::State;
use crate::store::{Act, Asked, Group, Result, Task, Txn};

use super::orders::{Answer, Clerk, fits, unwell};
use super::retry::{Tried, retry};

/// Letters that share a transaction: so many, that a scan need not wait long behind them.
const SLICE: usize = 100;
/// Letters that can be named one by one.
const NUMBERS_MAX: usize = 10_000;
/// Jobs that may be under way.
const RUNNING_MAX: usize = 16;
/// Letters of a job that are told one by one with what kept them.
const LEFT_MAX: usize = 100;
/// Length of an Idempotency-Key. Bytes
const KEY_MAX: usize = 128;

/// The letters of a job as they are written down.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Written {
    ids: Option<Vec<i64>>,
    reason: Option<String>,
    source: Option<String>,
    stage: Option<String>,
    class: Option<String>,
    from_ms: Option<UnixMs>,
    to_ms: Option<UnixMs>,
    text: Option<String>,
    in_bytes: bool,
}

impl Written {
    fn of(which: Which) -> Self {
        match which {
            Which::Numbers(mut ids) => {
                ids.sort_unstable();
                ids.dedup();
                Self { ids: Some(ids), ..Self::default() }
            }
            Which::All(filter) => Self {
                ids: None,
                reason: filter.reason.map(|reason| reason.as_str().to_owned()),
                source: filter.source,
                stage: filter.stage.map(|stage| stage.as_str().to_owned()),
                class: filter.class.map(|class| class.as_str().to_owned()),
                from_ms: filter.from_ms,
                to_ms: filter.to_ms,
                text: filter.text,
                in_bytes: filter.in_bytes,
            },
        }
    }

    fn filter(self, action: Action) -> LetterFilter {
        LetterFilter {
            stand: Some(action.of()),
            reason: self.reason.as_deref().and_then(Reason::from_code),
            source: self.source,
            stage: self.stage.as_deref().and_then(Stage::from_word),
            class: self.class.as_deref().and_then(Class::from_word),
            from_ms: self.from_ms,
            to_ms: self.to_ms,
            text: self.text,
            in_bytes: self.in_bytes,
        }
    }
}

impl Clerk {
    /// Writes down what is asked; [`Clerk::step`] carries it out. Under a key that is known it answers the job of then.
    pub(super) async fn begin(&self, bulk: Bulk, who: &str) -> Answer {
        let Bulk { action, which, expect, note, key } = bulk;
        let note = fits(note)?;
        if matches!(&which, Which::Numbers(ids) if ids.len() > NUMBERS_MAX) {
            let message = format!("more than {NUMBERS_MAX} letters are named");
            return Err(Refused::new(Why::Invalid, message, "Name a reason or a source instead."));
        }
        if let Which::Numbers(ids) = &which
            && let Some(none) = ids.iter().find(|id| **id < 1)
        {
            let message = format!("there is no letter {none}");
            return Err(Refused::new(Why::Invalid, message, "Their numbers begin at 1; list them."));
        }
        if key.as_ref().is_some_and(|key| key.is_empty() || key.len() > KEY_MAX || !key.is_ascii()) {
            let hint = format!("Send 1 to {KEY_MAX} ASCII characters, another one for each thing you ask.");
            return Err(Refused::new(Why::Invalid, "the Idempotency-Key does not fit", hint));
        }
        let written = serde_json::to_string(&Written::of(which)).map_err(|error| bug(&error))?;
        let digest = *blake3::hash(format!("{}\n{expect:?}\n{note}\n{written}", action.as_str()).as_bytes()).as_bytes();
        let who = who.to_owned();
        let begun = self.store.submit(Group::Now, move |txn| {
            let asked = Asked { key: key.as_deref(), digest };
            begin(txn, &asked, &Asker { action, who: &who, note: &note, written: &written }, expect)
        });
        let job = begun.await.map_err(|error| unwell(&error))??;
        if job.state == JobState::Running {
            self.board.post(State::Job(job.clone()));
        }
        Ok(Carried { done: Done::Letters(job), touched: Vec::new() })
    }

    /// The jobs that a restart found under way, oldest first.
    ///
    /// # Errors
    /// As the store says.
    pub(super) async fn running(&self) -> Result<Vec<i64>> {
        self.store.read(|reader| reader.running()).await
    }

    /// Carries a job on by one slice; answers how it stands then.
    ///
    /// # Errors
    /// As the store says; then nothing of the slice was kept, and it can be asked again.
    pub async fn step(&self, job: i64) -> Result<Option<Job>> {
        let clerk = self.clone();
        let job = self.store.submit(Group::Now, move |txn| step(txn, &clerk, job)).await?;
        if let Some(job) = &job {
            self.board.post(State::Job(job.clone()));
        }
        Ok(job)
    }

    /// Ends a job where it is.
    pub(super) async fn stop(&self, job: i64, who: &str) -> Answer {
        let who = who.to_owned();
        let stopped = self.store.submit(Group::Now, move |txn| {
            let Some(mut task) = txn.task(job)? else { return Ok(None) };
            if task.job.state == JobState::Running {
                end(txn, &mut task, JobState::Stopped);
                txn.keep_job(&task)?;
                let Job { total, .. } = task.job;
                let detail =
                    format!("job {job} ({}) after {} of {total} letters", task.job.action.as_str(), task.job.done());
                txn.audit(&who, "stop", &detail)?;
            }
            Ok(Some(task.job))
        });
        let Some(job) = stopped.await.map_err(|error| unwell(&error))? else {
            let message = format!("there is no job {job}");
            return Err(Refused::new(Why::NotFound, message, "The newest thousand are kept."));
        };
        self.board.post(State::Job(job.clone()));
        Ok(Carried { done: Done::Letters(job), touched: Vec::new() })
    }
}

/// Who asks what.
struct Asker<'a> {
    action: Action,
    who: &'a str,
    note: &'a str,
    written: &'a str,
}

fn begin(
    txn: &mut Txn<'_>,
    asked: &Asked<'_>,
    asker: &Asker<'_>,
    expect: Option<usize>,
) -> Result<std::result::Result<Job, Refused>> {
    if let Some((task, same)) = txn.asked_before(asked)? {
        let message = format!("this Idempotency-Key asked for something else: job {}", task.job.job);
        let hint = "Send another key for another request.";
        return Ok(if same { Ok(task.job) } else { Err(Refused::new(Why::Conflict, message, hint)) });
    }
    if txn.running()?.len() >= RUNNING_MAX {
        let message = format!("{RUNNING_MAX} jobs are under way already");
        return Ok(Err(Refused::new(Why::Busy, message, "Try again when one of them has ended.")));
    }
    let upto = txn.newest_letter()?;
    let written: Written = serde_json::from_str(asker.written).unwrap_or_default();
    let total = match &written.ids {
        Some(ids) => i64::try_from(ids.len()).unwrap_or(i64::MAX),
        None => txn.count_letters(&written.filter(asker.action))?,
    };
    let now = usize::try_from(total).unwrap_or(0);
    if let Some(expect) = expect.filter(|expect| *expect != now) {
        let message = if now == 1 {
            format!("1 letter is meant, not {expect}")
        } else {
            format!("{now} letters are meant, not {expect}")
        };
        let hint = "Look at the list again, then ask with the new count.";
        return Ok(Err(Refused { now: Some(now), ..Refused::new(Why::CountChanged, message, hint) }));
    }
    let begun_ms = txn.now().wall_ms;
    let (state, ended_ms) = if total == 0 { (JobState::Done, Some(begun_ms)) } else { (JobState::Running, None) };
    let job = Job {
        job: 0,
        action: asker.action,
        state,
        total,
        ok: 0,
        failed: 0,
        skipped: 0,
        left: Vec::new(),
        begun_ms,
        ended_ms,
    };
    let task = Task {
        job,
        who: asker.who.to_owned(),
        which: asker.written.to_owned(),
        note: asker.note.to_owned(),
        upto,
        through: 0,
    };
    let number = txn.begin_job(&task, asked)?;
    Ok(Ok(Job { job: number, ..task.job }))
}

/// One slice of a job.
fn step(txn: &mut Txn<'_>, clerk: &Clerk, job: i64) -> Result<Option<Job>> {
    let Some(mut task) = txn.task(job)? else { return Ok(None) };
    if task.job.state != JobState::Running {
        return Ok(Some(task.job));
    }
    let action = task.job.action;
    let written: Written = serde_json::from_str(&task.which).unwrap_or_default();
    let letters = match &written.ids {
        Some(ids) => ids.iter().copied().filter(|letter| *letter > task.through).take(SLICE).collect(),
        None => txn.meant_letters(&written.filter(action), task.through, task.upto, SLICE)?,
    };
    let hand = clerk.hand();
    let act = Act { who: &task.who.clone(), what: action.as_str(), note: &task.note.clone() };
    let before = task.job.done();
    for letter in &letters {
        let tried = match action {
            Action::Retry => retry(txn, &hand, &clerk.scanners, &clerk.keeper, *letter, &act)?,
            Action::Discard => Tried::of(txn.discard(*letter, &act)?),
            Action::Restore => Tried::of(txn.restore(*letter, &act)?),
        };
        note(&mut task.job, *letter, tried);
        task.through = *letter;
    }
    if letters.len() < SLICE {
        end(txn, &mut task, JobState::Done);
    }
    txn.keep_job(&task)?;
    if !letters.is_empty() {
        let detail = format!("{} (job {job}: {} of {}) {}", numbers(&letters), before, task.job.total, task.note);
        txn.audit(&task.who, action.as_str(), &detail)?;
    }
    Ok(Some(task.job))
}

fn note(job: &mut Job, letter: i64, tried: Tried) {
    let why = match tried {
        Tried::Event => {
            job.ok += 1;
            return;
        }
        Tried::Failed(reason) => {
            job.failed += 1;
            reason.as_str()
        }
        Tried::Skipped(why) => {
            job.skipped += 1;
            why
        }
    };
    if job.left.len() < LEFT_MAX {
        job.left.push((letter, why.to_owned()));
    }
}

fn end(txn: &Txn<'_>, task: &mut Task, state: JobState) {
    task.job.state = state;
    task.job.ended_ms = Some(txn.now().wall_ms);
}

fn numbers(letters: &[i64]) -> String {
    let shown: Vec<String> = letters.iter().map(ToString::to_string).collect();
    format!("{} letters: {}", letters.len(), shown.join(" "))
}

fn bug(error: &serde_json::Error) -> Refused {
    Refused::new(Why::Store, format!("the request cannot be written down: {error}: a bug"), "Please report it.")
}
