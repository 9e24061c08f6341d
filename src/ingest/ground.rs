//! The plan that is in force, shared by all who judge by it, and the order that puts another one in its place. What was
//! judged stays judged: a new plan holds for the fixes that come after it.

use std::sync::{Arc, PoisonError, RwLock};

use crate::domain::{Carried, Done, Refused, UnixMs, Why};
use crate::health::{State, ZonesState};
use crate::plan::{Invalid, Plan};
use crate::store::{Result, Txn};

use super::hand::Hand;
use super::orders::{Answer, Clerk};

/// The plan in force. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Ground(Arc<RwLock<InForce>>);

/// A plan, and from when on it holds.
#[derive(Clone, Debug, Default)]
pub struct InForce {
    /// The zones.
    pub plan: Arc<Plan>,
    /// Fixes up to this time stood to the zones of a plan before. UTC ms; 0: it holds for all.
    pub after_ms: UnixMs,
}

impl Ground {
    /// Begins with a plan; `after_ms` as in [`InForce`].
    #[must_use]
    pub fn new(plan: Plan, after_ms: UnixMs) -> Self {
        Self(Arc::new(RwLock::new(InForce { plan: Arc::new(plan), after_ms })))
    }

    /// The plan as it is now. Whoever judges something takes it once, so that the whole of it is judged by one plan.
    #[must_use]
    pub fn now(&self) -> InForce {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, to: InForce) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = to;
    }
}

impl Clerk {
    /// Puts another plan in the place of the one that is kept, if that is still the one that the person has seen.
    pub(super) async fn draw(&self, bytes: Vec<u8>, expect: Option<i64>, who: &str) -> Answer {
        if let Some(file) = &self.plan_file {
            let message = format!("the plan of this node is the file {}", file.display());
            let hint = "Change that file and restart waypost; without plan.zones the plan is kept in the store.";
            return Err(Refused::new(Why::PlanIsFile, message, hint));
        }
        // A plan of 20,000 positions takes a while: not on a thread that others wait for.
        let read = tokio::task::spawn_blocking(move || Plan::from_bytes(&bytes)).await;
        let (plan, text) = match read {
            Ok(Ok(read)) => read,
            Ok(Err(invalid)) => return Err(refused(&invalid)),
            Err(_) => return Err(Refused::new(Why::Store, "the plan could not be read: a bug", "Please report it.")),
        };
        let detail = difference(&self.ground.now().plan, &plan);
        let (zones, name) = (plan.zones().len(), who.to_owned());
        let carried = self.audited(who, "plan", detail, move |txn, hand| {
            let rev = txn.plan_rev()?;
            if expect.is_some_and(|expect| expect != rev) {
                return Ok(Err(changed(rev)));
            }
            let after_ms = newest_ms(txn, hand)?;
            let rev = txn.set_plan(&name, after_ms, &text)?;
            Ok(Ok(Carried { done: Done::Planned { rev, zones, after_ms }, touched: Vec::new() }))
        });
        let carried = carried.await?;
        if let Done::Planned { rev, after_ms, .. } = carried.done {
            self.ground.set(InForce { plan: Arc::new(plan), after_ms });
            self.board.post(State::Zones(ZonesState { rev, zones }));
        }
        Ok(carried)
    }
}

/// The newest time of a fix that was judged already: no clock is asked, it may be wrong. UTC ms
fn newest_ms(txn: &Txn<'_>, hand: &Hand<'_>) -> Result<UnixMs> {
    let mut newest = 0;
    for asset in hand.carriers.keys() {
        let seen = txn.asset(asset)?.filter(|state| state.tq.is_trusted() && state.position.is_some());
        newest = seen.map_or(newest, |state| newest.max(state.ts_ms));
    }
    Ok(newest)
}

fn refused(invalid: &Invalid) -> Refused {
    let n = invalid.findings.len();
    let message = if n == 1 { "the plan has a mistake".to_owned() } else { format!("the plan has {n} mistakes") };
    let hint = "Nothing was changed. Mend them and send it again.";
    let findings = invalid.findings.iter().map(ToString::to_string).collect();
    Refused { findings, ..Refused::new(Why::Invalid, message, hint) }
}

fn changed(rev: i64) -> Refused {
    let message = format!("the plan was changed meanwhile: it is revision {rev} now");
    let now = usize::try_from(rev).ok();
    let hint = "Read it again, or put yours in its place knowingly with If-Match: *.";
    Refused { now, ..Refused::new(Why::PlanChanged, message, hint) }
}

/// What is other in a plan than in the one before, for the audit.
fn difference(before: &Plan, plan: &Plan) -> String {
    let (mut new, mut other) = (0, 0);
    for zone in plan.zones() {
        match before.zone(&zone.id) {
            None => new += 1,
            Some(was) if (&was.name, was.kind, &was.polygons) != (&zone.name, zone.kind, &zone.polygons) => other += 1,
            Some(_) => {}
        }
    }
    let gone: Vec<&str> =
        before.zones().iter().filter(|zone| plan.zone(&zone.id).is_none()).map(|zone| zone.id.as_str()).collect();
    let names = if gone.is_empty() { String::new() } else { format!(": {}", gone.join(", ")) };
    format!("{} zones, {new} of them new, {other} changed; {} gone{names}", plan.zones().len(), gone.len())
}
