//! The worker `desk`: what people ask of the node, carried out one after the other, each in a transaction of its own.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};

use crate::clock::Keeper;
use crate::config::{Scanner, Unknown};
use crate::domain::{Carried, Done, Job, JobState, Order, Refused, Standing, Why};
use crate::health::{Board, Ctx, Outcome, PARKED_MAX, Worker, wedge};
use crate::store::{Group, Store, StoreError, Txn};

use super::carrier::Carriers;
use super::ground::Ground;
use super::hand::{self, Hand};
use super::list::{self, Row};
use super::register;

/// Orders that may wait for the desk; more are refused.
pub const ORDERS_MAX: usize = 16;
/// How long a job waits for a store that takes nothing.
const STORE_WAIT: Duration = Duration::from_secs(10);
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
    /// The plan they move on.
    pub ground: Ground,
    /// The file of the plan; none: it is kept in the store, and changed here.
    pub plan_file: Option<PathBuf>,
    /// The truth.
    pub store: Store,
    /// Where a job says how far it is.
    pub board: Board,
    /// The node's time.
    pub keeper: Keeper,
}

/// The worker `desk`. Waits for: an order, the word to stop; between them it carries jobs on, a slice at a time.
///
/// A restart loses the answer of the order it broke on, never an order that was answered: a job goes on where it was.
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
    // What a restart left half done goes on.
    let mut jobs: VecDeque<i64> = clerk.running().await.unwrap_or_else(unread).into();
    let mut pause = Duration::ZERO;
    loop {
        wedge::hang(ctx.beat.worker()).await;
        let wait = if jobs.is_empty() { ctx.beat.parked(PARKED_MAX) } else { ctx.beat.parked(pause) };
        let asked = tokio::select! {
            biased;
            () = ctx.stop.cancelled() => return Ok(()),
            asked = rx.recv() => Some(asked),
            () = tokio::time::sleep(wait) => None,
        };
        ctx.beat.working(ORDER_BUDGET);
        match asked {
            Some(None) => return Ok(()),
            Some(Some((order, who, reply))) => {
                let answer = clerk.carry_out(order, &who).await;
                if let Ok(Carried { done: Done::Letters(job), .. }) = &answer
                    && job.state == JobState::Running
                    && !jobs.contains(&job.job)
                {
                    jobs.push_back(job.job);
                }
                // Whoever asked may have gone; what was carried out stays, and the audit names it.
                drop(reply.send(answer));
            }
            None => pause = carry_on(clerk, &mut jobs).await,
        }
    }
}

/// A store that cannot be read is no reason to end the desk: it would be none the better for it.
fn unread(error: StoreError) -> Vec<i64> {
    tracing::warn!(%error, "jobs that a restart broke off cannot be looked up; they go on at the next start");
    Vec::new()
}

/// Carries the oldest job on; answers how long to wait before the next slice.
async fn carry_on(clerk: &Clerk, jobs: &mut VecDeque<i64>) -> Duration {
    let Some(job) = jobs.front().copied() else { return Duration::ZERO };
    match clerk.step(job).await {
        Ok(Some(Job { state: JobState::Running, .. })) => Duration::ZERO,
        Ok(_) => {
            jobs.pop_front();
            Duration::ZERO
        }
        Err(error) if error.may_pass() => {
            tracing::warn!(job, %error, "a job waits for the store");
            STORE_WAIT
        }
        Err(error) => {
            // It would fail again for ever: it ends here, and its row says how far it came.
            tracing::error!(job, %error, "a job hit a bug and is ended; please report this");
            jobs.pop_front();
            if let Err(refused) = clerk.stop(job, "desk").await {
                tracing::error!(
                    job,
                    why = refused.message,
                    "it could not be ended either; the next start tries it again"
                );
            }
            Duration::ZERO
        }
    }
}

impl Clerk {
    /// Carries out an order for somebody. The audit keeps who it was, in the transaction of what was done.
    ///
    /// # Errors
    /// [`Refused`]; then nothing of it was kept.
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
            Order::Plan { bytes, expect } => self.draw(bytes, expect, who).await,
            Order::Letters(bulk) => self.begin(bulk, who).await,
            Order::Stop(job) => self.stop(job, who).await,
            Order::Accept => {
                let stands = |txn: &mut Txn<'_>| txn.accept_machine().and_then(|_| txn.standing());
                self.stand(who, "accept", String::new(), stands).await
            }
            Order::Retire => self.stand(who, "retire", String::new(), |txn| txn.retire(false)).await,
            Order::Renamed(was, is) => {
                self.stand(who, "rename", format!("{was} becomes {is}"), |txn| txn.standing()).await
            }
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

    /// Changes how the node stands to the platform.
    async fn stand<F>(&self, who: &str, what: &'static str, detail: String, mut work: F) -> Answer
    where
        F: FnMut(&mut Txn<'_>) -> crate::store::Result<Standing> + Send + 'static,
    {
        let work = move |txn: &mut Txn<'_>, _: &Hand<'_>| {
            let standing = work(txn)?;
            Ok(Ok(Carried { done: Done::Stands(standing), touched: Vec::new() }))
        };
        self.audited(who, what, detail, work).await
    }

    /// Runs `work` in a transaction with its audit row, unless it refuses.
    pub(super) async fn audited<F>(&self, who: &str, what: &'static str, detail: String, mut work: F) -> Answer
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

    pub(super) fn hand(&self) -> Hand<'_> {
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

/// A list of one, told as that one.
fn one_of(done: &Done) -> Done {
    use crate::domain::Registered::{Added, Changed, Unchanged};
    match done {
        Done::Imported { added: 1, .. } => Done::Registered(Added),
        Done::Imported { changed: 1, .. } => Done::Registered(Changed),
        _ => Done::Registered(Unchanged),
    }
}

/// A note that can be kept.
pub(super) fn fits(note: String) -> std::result::Result<String, Refused> {
    if note.chars().count() <= NOTE_MAX && !note.chars().any(char::is_control) {
        return Ok(note);
    }
    Err(Refused::new(Why::Invalid, "the note does not fit", format!("Write at most {NOTE_MAX} printable characters.")))
}

/// A store that does not take it.
pub(super) fn unwell(error: &StoreError) -> Refused {
    tracing::warn!(%error, "an order could not be carried out");
    let hint = if error.may_pass() { "Try again; it may pass." } else { "Run `waypost status` on the gateway." };
    Refused::new(Why::Store, error.to_string(), hint)
}

fn broken() -> Refused {
    Refused::new(Why::Store, "the list could not be read: a bug", "Please report it, with the list.")
}
