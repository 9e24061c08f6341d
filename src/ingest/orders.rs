//! The worker `desk`: what people ask of the node, carried out one after the other, each in a transaction of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};

use crate::clock::Keeper;
use crate::config::{Scanner, Unknown};
use crate::domain::{Carried, Done, Order, Reason, Refused, Which, Why};
use crate::health::{Ctx, Outcome, PARKED_MAX, Worker, wedge};
use crate::store::{Group, Store, StoreError, Txn};

use super::carrier::Carriers;
use super::hand::{self, Hand};
use super::list::{self, Row};
use super::register;
use super::retry::{Tried, retry};

/// Orders that may wait for the desk; more are refused.
pub const ORDERS_MAX: usize = 16;
/// Letters that one order may be about.
const LETTERS_MAX: usize = 10_000;
/// Letters that share a transaction: so many, that a scan need not wait long behind them.
const BATCH: usize = 500;
/// Text of a note. Characters.
const NOTE_MAX: usize = 500;
/// What an order may take before the worker counts as stalled: a long list on a slow card.
const ORDER_BUDGET: Duration = Duration::from_secs(60);

/// What became of an order.
pub type Answer = std::result::Result<Carried, Refused>;

/// An order on its way: what is asked, by whom, and where the answer goes.
pub type Asked = (Order, String, oneshot::Sender<Answer>);

/// Carries out orders.
#[derive(Clone)]
pub struct Clerk {
    /// `node.id`
    pub node: String,
    /// The kernel's boot id.
    pub boot_id: String,
    /// What a key that is not in the register becomes.
    pub unknown: Unknown,
    /// The scanners of the configuration: how their letters are read again.
    pub scanners: Vec<Scanner>,
    /// The assets that receivers move.
    pub carriers: Carriers,
    /// The truth.
    pub store: Store,
    /// The node's time.
    pub keeper: Keeper,
}

/// The worker `desk`. Waits for: an order, the word to stop.
///
/// A restart loses the answer of the order it broke on, never an order that was answered.
pub fn worker(clerk: Clerk, rx: mpsc::Receiver<Asked>) -> Worker {
    let held = Arc::new(Mutex::new((clerk, rx)));
    Worker::task("desk", move |ctx| {
        let held = Arc::clone(&held);
        async move {
            let (clerk, rx) = &mut *held.lock().await;
            run(clerk, rx, &ctx).await
        }
    })
}

async fn run(clerk: &Clerk, rx: &mut mpsc::Receiver<Asked>, ctx: &Ctx) -> Outcome {
    loop {
        wedge::hang(ctx.beat.worker()).await;
        let wait = ctx.beat.parked(PARKED_MAX);
        let asked = tokio::select! {
            biased;
            () = ctx.stop.cancelled() => return Ok(()),
            asked = rx.recv() => asked,
            () = tokio::time::sleep(wait) => continue,
        };
        let Some((order, who, reply)) = asked else { return Ok(()) };
        ctx.beat.working(ORDER_BUDGET);
        let answer = clerk.carry_out(order, &who).await;
        // Whoever asked may have gone; what was carried out stays, and the audit names it.
        drop(reply.send(answer));
    }
}

impl Clerk {
    /// Carries out an order for somebody. The audit keeps who it was, in the transaction of what was done.
    ///
    /// # Errors
    /// [`Refused`]; then nothing of it was kept, but for letters that were tried before the store failed.
    pub async fn carry_out(&self, order: Order, who: &str) -> Answer {
        match order {
            Order::Register(thing) => {
                let detail = thing.asset.clone();
                let row = list::read_one(thing)?;
                let carried = self.put(vec![row], false, who, "register", detail).await?;
                Ok(Carried { done: one_of(&carried.done), ..carried })
            }
            Order::Import { bytes, form, replace } => {
                // Reading a list of 2 MiB takes tens of milliseconds: not on a thread that others wait for.
                let read = tokio::task::spawn_blocking(move || list::read(&bytes, form)).await;
                let rows = read.unwrap_or_else(|_| Err(broken()))?;
                let detail = format!("{} assets{}", rows.len(), if replace { ", all others taken out" } else { "" });
                self.put(rows, replace, who, "import", detail).await
            }
            Order::Delete(asset) => self.delete(asset, who).await,
            Order::Place { asset, place, note } => {
                let note = fits(note)?;
                let detail = format!("{asset}: {} {note}", place.as_deref().unwrap_or("no place"));
                self.audited(who, "place", detail, move |txn, hand| hand::place(txn, hand, &asset, place.as_deref()))
                    .await
            }
            Order::Scan { code, place } => {
                let detail = format!("{code} at {}", place.as_deref().unwrap_or("no place"));
                self.audited(who, "scan", detail, move |txn, hand| hand::scan(txn, hand, &code, place.as_deref())).await
            }
            Order::Retry { which, expect, note } => self.retry(which, expect, fits(note)?, who).await,
            Order::Discard { which, expect, note } => self.discard(which, expect, fits(note)?, who).await,
        }
    }

    async fn put(&self, rows: Vec<Row>, replace: bool, who: &str, what: &'static str, detail: String) -> Answer {
        let rows = Arc::new(rows);
        self.audited(who, what, detail, move |txn, hand| register::put(txn, hand, &rows, replace)).await
    }

    async fn delete(&self, asset: String, who: &str) -> Answer {
        let detail = asset.clone();
        self.audited(who, "delete", detail, move |txn, hand| {
            if txn.thing(&asset)?.is_none() {
                let message = format!("there is no asset {} in the register", list::shown(&asset));
                return Ok(Err(Refused::new(Why::NotFound, message, "`waypost assets list` shows them.")));
            }
            let (name, touched) = register::take_out(txn, hand, &asset)?;
            Ok(Ok(Carried { done: Done::Deleted(name), touched }))
        })
        .await
    }

    /// Runs `work` in a transaction with its audit row, unless it refuses.
    async fn audited<F>(&self, who: &str, what: &'static str, detail: String, mut work: F) -> Answer
    where
        F: FnMut(&mut Txn<'_>, &Hand<'_>) -> crate::store::Result<Answer> + Send + 'static,
    {
        let (clerk, who) = (self.clone(), who.to_owned());
        let done = self.store.submit(Group::Now, move |txn| {
            let answer = work(txn, &clerk.hand())?;
            if answer.is_ok() {
                txn.audit(&who, what, &detail)?;
            }
            Ok(answer)
        });
        done.await.unwrap_or_else(|error| Err(unwell(&error)))
    }

    async fn retry(&self, which: Which, expect: Option<usize>, note: String, who: &str) -> Answer {
        let letters = self.letters(which, expect).await?;
        let (mut retried, mut failed, mut skipped) = (0, Vec::new(), Vec::new());
        for some in letters.chunks(BATCH) {
            let (clerk, who, note, some) = (self.clone(), who.to_owned(), note.clone(), some.to_vec());
            let tried = self.store.submit(Group::Now, move |txn| {
                let hand = clerk.hand();
                let tries = some.iter().map(|letter| {
                    let tried = retry(txn, &hand, &clerk.scanners, &clerk.keeper, *letter, &note)?;
                    Ok((*letter, tried))
                });
                let tried = tries.collect::<crate::store::Result<Vec<_>>>()?;
                txn.audit(&who, "retry", &format!("{} {note}", numbers(&some)))?;
                Ok(tried)
            });
            for (letter, tried) in tried.await.map_err(|error| unwell(&error))? {
                match tried {
                    Tried::Event => retried += 1,
                    Tried::Failed(reason) => failed.push((letter, reason)),
                    Tried::Skipped(why) => skipped.push((letter, why)),
                }
            }
        }
        // Their events tell which assets they touched.
        Ok(Carried { done: Done::Retried { retried, failed, skipped }, touched: Vec::new() })
    }

    async fn discard(&self, which: Which, expect: Option<usize>, note: String, who: &str) -> Answer {
        let letters = self.letters(which, expect).await?;
        let (mut discarded, mut skipped) = (0, Vec::new());
        for some in letters.chunks(BATCH) {
            let (who, note, some) = (who.to_owned(), note.clone(), some.to_vec());
            let ended = self.store.submit(Group::Now, move |txn| {
                let ended = some.iter().map(|letter| Ok((*letter, give_up(txn, *letter, &note)?)));
                let ended = ended.collect::<crate::store::Result<Vec<_>>>()?;
                txn.audit(&who, "discard", &format!("{} {note}", numbers(&some)))?;
                Ok(ended)
            });
            for (letter, why_not) in ended.await.map_err(|error| unwell(&error))? {
                match why_not {
                    None => discarded += 1,
                    Some(why) => skipped.push((letter, why)),
                }
            }
        }
        Ok(Carried { done: Done::Discarded { discarded, skipped }, touched: Vec::new() })
    }

    /// The letters that are meant, oldest first.
    async fn letters(&self, which: Which, expect: Option<usize>) -> std::result::Result<Vec<i64>, Refused> {
        let letters = match which {
            Which::Numbers(mut letters) => {
                letters.sort_unstable();
                letters.dedup();
                letters
            }
            Which::All { reason, source } => {
                let found = self.store.submit(Group::Now, move |txn| {
                    txn.open_letters(reason.map(Reason::as_str), source.as_deref(), LETTERS_MAX + 1)
                });
                found.await.map_err(|error| unwell(&error))?
            }
        };
        if let Some(expect) = expect.filter(|expect| *expect != letters.len()) {
            let message = format!("{} letters are meant, not {expect}", letters.len());
            return Err(Refused::new(
                Why::CountChanged,
                message,
                "Look at the list again, then ask with the new count.",
            ));
        }
        if letters.len() > LETTERS_MAX {
            let message = format!("more than {LETTERS_MAX} letters are meant");
            return Err(Refused::new(Why::Invalid, message, "Name a source, or their numbers."));
        }
        Ok(letters)
    }

    fn hand(&self) -> Hand<'_> {
        let at = self.keeper.clock().now();
        Hand {
            node: &self.node,
            boot_id: &self.boot_id,
            carriers: &self.carriers,
            unknown: self.unknown,
            at,
            when: self.keeper.time_of(at),
        }
    }
}

/// Gives a letter up; why not, when it cannot be.
fn give_up(txn: &mut Txn<'_>, letter: i64, note: &str) -> crate::store::Result<Option<&'static str>> {
    let Some(kept) = txn.letter(letter)? else { return Ok(Some("there is no such letter")) };
    if kept.stage == "uplink" {
        return Ok(Some("the letter of an event cannot be discarded in this version"));
    }
    Ok((!txn.end_letter(letter, "discarded", note)?).then_some("it is no longer open"))
}

/// A list of one, told as that one.
fn one_of(done: &Done) -> Done {
    use crate::domain::Registered::{Added, Changed, Unchanged};
    match done {
        Done::Imported { added: 1, .. } => Done::Registered(Added),
        Done::Imported { changed: 1, .. } => Done::Registered(Changed),
        _ => Done::Registered(Unchanged),
    }
}

fn numbers(letters: &[i64]) -> String {
    let shown: Vec<String> = letters.iter().take(100).map(ToString::to_string).collect();
    let more = if letters.len() > shown.len() { " …" } else { "" };
    format!("{} letters: {}{more}", letters.len(), shown.join(" "))
}

fn fits(note: String) -> std::result::Result<String, Refused> {
    if note.chars().count() <= NOTE_MAX && !note.chars().any(char::is_control) {
        return Ok(note);
    }
    Err(Refused::new(Why::Invalid, "the note does not fit", format!("Write at most {NOTE_MAX} printable characters.")))
}

fn unwell(error: &StoreError) -> Refused {
    tracing::warn!(%error, "an order could not be carried out");
    let hint = if error.may_pass() { "Try again; it may pass." } else { "Run `waypost status` on the gateway." };
    Refused::new(Why::Store, error.to_string(), hint)
}

fn broken() -> Refused {
    Refused::new(Why::Store, "the list could not be read: a bug", "Please report it, with the list.")
}
