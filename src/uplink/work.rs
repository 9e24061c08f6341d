//! The worker's loop: one place that waits (on the connection, the head, the board, answers of the store, time and the
//! stop), hands what happened to the session and carries out what it says.

mod line;
mod orders;
mod parting;
mod renewal;
mod stay;
mod times;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::clock::BootTime;
use crate::config::{Protocol, Uplink};
use crate::domain::{AssetState, Lane, Seq, Stamp};
use crate::health::{Ctx, Outcome, wedge};
use crate::store::{self, Reader};

use self::renewal::Renewal;
use super::Kit;
use super::backoff::Decorrelated;
use super::centre::{self, Answered};
use super::command::{self, Heard};
use super::fault::{Fault, Mend};
use super::figures;
use super::lane::{Message, Queued, Track};
use super::link::{Greeting, Link, Said};
use super::payload::{Figures, Voice};
use super::ration::Ration;
use super::script::{Effect, Input, micros, rules};
use super::session::Session;
use super::sign::{Sign, Way};
use super::speaker::{Marks, Speaker, Wants};
use super::wallet::Looked;
use orders::Orders;
use stay::Stay;

/// How long one round of the loop may take.
const ROUND: Duration = Duration::from_secs(20);

/// An answer of the store.
enum Done {
    Read(Track, store::Result<(Vec<Queued>, Seq)>),
    Committed(Track, store::Result<bool>),
    Placed(store::Result<Vec<AssetState>>),
    Counted(Wants, Marks, store::Result<Figures>),
    Noted(store::Result<()>),
    Timed(store::Result<Vec<BootTime>>),
    Ordered(Answered),
    Replayed(store::Result<Option<Answered>>),
    Looked(Looked),
    TakenOff(store::Result<()>),
}

/// How far a stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopping {
    No,
    /// Waiting for what is in flight, until then. µs.
    Settling(i64),
    /// The last word is out, until then. µs.
    Parting(i64),
    /// The goodbye is out, until then. µs.
    Leaving(i64),
    Done,
}

struct Run {
    kit: Arc<Kit>,
    session: Session,
    speaker: Speaker,
    link: Option<Link>,
    jobs: JoinSet<Done>,
    said: Vec<Said>,
    effects: Vec<Effect>,
    stopping: Stopping,
    sign: Sign,
    orders: Orders,
    /// The next connection begins a new session at the broker.
    fresh: bool,
    /// Up to where the centre has everything.
    confirmed: Seq,
    renewal: Renewal,
    stay: Stay,
}

/// Runs the uplink until it is told to stop. Waits on: the connection's events, the head of the log, the board, answers
/// of the store, the earliest time at which something is due, and the stop. Losing any of these races loses nothing:
/// channels keep their items, watches their version.
///
/// # Errors
/// When the store's cursors cannot be read or somebody else has moved one: the supervisor restarts it.
pub(super) async fn run(kit: Arc<Kit>, ctx: Ctx) -> Outcome {
    let (mut head, mut resends) = (kit.store.head(), kit.store.resends());
    let mut board = kit.board.watch();
    let mut standing = kit.store.standing();
    let mut run = Run::begin(Arc::clone(&kit)).await?;
    loop {
        wedge::hang("uplink").await;
        ctx.beat.working(ROUND);
        let seq = *head.borrow_and_update();
        board.mark_unchanged();
        run.turn(seq).await?;
        if run.stopping == Stopping::Done {
            return Ok(());
        }
        let wait = ctx.beat.parked(run.wait());
        tokio::select! {
            () = said(&mut run.link, &mut run.said) => {}
            Some(done) = run.jobs.join_next() => run.done(done?)?,
            moved = head.changed() => moved?,
            moved = board.changed() => moved?,
            moved = resends.changed() => {
                moved?;
                run.resend();
            }
            moved = standing.changed() => {
                moved?;
                run.stand();
            }
            () = tokio::time::sleep(wait) => {}
            () = ctx.stop.cancelled(), if run.stopping == Stopping::No => run.stop(),
        }
    }
}

async fn said(link: &mut Option<Link>, into: &mut Vec<Said>) {
    match link {
        Some(link) => link.said(into).await,
        None => std::future::pending().await,
    }
}

impl Run {
    async fn begin(kit: Arc<Kit>) -> anyhow::Result<Self> {
        let look =
            |reader: &Reader<'_>| Ok((reader.cursor(Lane::Scan)?, reader.cursor(Lane::Fix)?, reader.confirmed()?));
        let (scan, fix, confirmed) = kit.store.read(look).await?;
        let names = kit.names.clone();
        let base = format!("{}/v1/{}/{}", kit.config.prefix, names.site, names.node);
        let voice = Voice { base, names, boot: kit.store.boot(), epoch: kit.store.epoch() };
        let Uplink { backoff_max, backoff_spread, protocol, health, .. } = kit.config;
        // Nodes that lose a broker together differ in epoch and time.
        let seed = kit.store.epoch().0 ^ kit.clock.now().mono_us.cast_unsigned();
        let policy = Decorrelated::new(kit.limits.backoff_base, backoff_max, backoff_spread, seed);
        let mut session = Session::new(rules(&kit), policy, *kit.store.head().borrow(), scan, fix);
        if let Some(replay) = centre::unfinished(&kit.store).await? {
            session.step(Input::Replay(Some((replay.through, replay.to))), kit.clock.now().mono_us);
        }
        let url = url(&kit.config);
        let sign = Sign::new(kit.board.clone(), url);
        if protocol == Protocol::V311 {
            tracing::warn!("MQTT 3.1.1: a broker that throws a message away cannot say so");
            sign.blind(kit.clock.now());
        }
        Ok(Self {
            session,
            speaker: Speaker::new(voice, kit.board.clone(), health),
            link: None,
            jobs: JoinSet::new(),
            said: Vec::new(),
            effects: Vec::new(),
            stopping: Stopping::No,
            sign,
            orders: Orders::default(),
            fresh: false,
            confirmed,
            renewal: Renewal::default(),
            stay: Stay::new(&kit),
            kit,
        })
    }

    fn now(&self) -> Stamp {
        self.kit.clock.now()
    }

    /// Takes in what happened and does what is due.
    async fn turn(&mut self, head: Seq) -> anyhow::Result<()> {
        let now = self.now();
        self.session.step(Input::Head(head), now.mono_us);
        for said in std::mem::take(&mut self.said) {
            self.hear(said).await?;
        }
        while let Some(done) = self.jobs.try_join_next() {
            self.done(done?)?;
        }
        self.renew();
        // Nothing new is sent while a connection is left for another.
        let goes_on = !self.renewal.is_under_way() || self.stopping != Stopping::No;
        if goes_on && self.session.is_connected() && self.stopping == Stopping::No && !self.stay.is_leaving() {
            self.speak();
        }
        self.tidy();
        if goes_on {
            self.session.step(Input::Mute(self.stay.standing().is_mute()), now.mono_us);
            self.plan().await;
        }
        self.end_replay();
        self.part().await;
        self.show();
        Ok(())
    }

    /// Somebody wants dead events sent again. What was asked before the session began it reads at its connect.
    fn resend(&mut self) {
        let now_us = self.now().mono_us;
        self.session.step(Input::Resend, now_us);
    }

    fn marks(&self) -> Marks {
        (self.session.head(), Lane::ALL.map(|lane| self.session.lane(lane)), self.confirmed)
    }

    fn is_settled(&self) -> bool {
        self.session.is_drained() && self.session.is_quiet()
    }

    fn wait(&self) -> Duration {
        let due = self.session.due_us().unwrap_or(i64::MAX).min(self.replay_due_us());
        let mut due = due.min(self.renewal_due_us());
        match self.stopping {
            Stopping::Settling(until) | Stopping::Parting(until) | Stopping::Leaving(until) => due = due.min(until),
            Stopping::No | Stopping::Done => {}
        }
        if self.session.is_connected() && !self.stay.is_leaving() {
            due = due.min(self.speaker.due_us(&self.marks(), self.is_settled()));
        }
        // What is overdue waits for an answer; a pause keeps the loop from spinning meanwhile.
        let left = due.saturating_sub(self.now().mono_us).max(2_000);
        Duration::from_micros(left.unsigned_abs())
    }

    async fn hear(&mut self, said: Said) -> anyhow::Result<()> {
        let now = self.now();
        match said {
            Said::Connected { receive_max, packet_max, retains } => {
                self.connected(receive_max, packet_max, retains).await;
            }
            Said::Shown(term) => self.shown(term),
            Said::Published(pkid) => {
                if let Some(link) = &mut self.link {
                    link.published(pkid);
                }
            }
            Said::Acked { pkid, code } => {
                let Some(ticket) = self.link.as_mut().and_then(|link| link.acked(pkid)) else { return Ok(()) };
                if let Some(answer) = self.session.step(Input::Answered { ticket, code }, now.mono_us) {
                    match answer.track {
                        Track { replay: true, .. } => self.kit.tally.uplink_replays(code),
                        Track { lane, .. } => self.kit.tally.uplink_publishes(lane, code),
                    }
                    self.kit.tally.uplink_publish_seconds(Duration::from_micros(answer.took_us.unsigned_abs()));
                }
            }
            Said::Standing { topic, empty } => match self.speaker.standing(&topic).filter(|_| !empty) {
                Some(over) => {
                    self.session.step(Input::Say(over), now.mono_us);
                }
                None if !empty => self.stay.hear(topic),
                None => {}
            },
            Said::Command(heard) => self.order(&heard),
            Said::Listening(commands) => self.listening(commands),
            Said::Over(fault) => self.lost(&fault),
        }
        Ok(())
    }

    fn speak(&mut self) {
        let now = self.now();
        self.speaker.look();
        for message in self.speaker.alarms(now) {
            self.session.step(Input::Say(message), now.mono_us);
        }
        let (marks, settled) = (self.marks(), self.is_settled());
        let wants = self.speaker.wants(&marks, settled, now.mono_us);
        let store = self.kit.store.clone();
        if wants.state {
            let assets = self.speaker.assets();
            self.jobs.spawn({
                let store = store.clone();
                async move { Done::Placed(figures::places(store, assets).await) }
            });
        }
        if wants.clock {
            let store = store.clone();
            self.jobs.spawn(async move { Done::Timed(figures::times(store).await) });
        }
        if wants.health || wants.watermark {
            self.jobs.spawn(async move { Done::Counted(wants, marks, figures::figures(store).await) });
        }
    }

    async fn plan(&mut self) {
        let now_us = self.now().mono_us;
        let mut effects = std::mem::take(&mut self.effects);
        self.session.plan(now_us, &mut effects);
        for effect in effects.drain(..) {
            self.carry_out(effect).await;
        }
        self.effects = effects;
    }

    async fn carry_out(&mut self, effect: Effect) {
        let kit = Arc::clone(&self.kit);
        match effect {
            Effect::Connect => self.connect().await,
            Effect::Publish { ticket, message, .. } => {
                // Without a link the session knows already that it is lost.
                let Some(link) = &mut self.link else { return };
                if !link.publish(ticket, message) {
                    // The window is smaller than the client's channel, so this is a client that has ended: why is the
                    // link's last word, which is on its way.
                    tracing::debug!("the client takes no publish");
                }
            }
            Effect::Read { track, after, limit } => {
                self.jobs.spawn(async move { Done::Read(track, figures::read(kit, track, after, limit).await) });
            }
            Effect::Commit(batch) => {
                let (track, at_once) = (batch.track, self.stopping != Stopping::No);
                let store = kit.store.clone();
                self.jobs.spawn(async move { Done::Committed(track, figures::commit(store, batch, at_once).await) });
            }
            Effect::Drop(reason) => {
                let silent = self.kit.limits.no_ack.as_secs_f64();
                self.lost(&Fault::given_up(reason, format!("no acknowledgement for {silent} s; connecting anew")));
            }
        }
    }

    fn done(&mut self, done: Done) -> anyhow::Result<()> {
        if self.stay.is_leaving() && matches!(done, Done::Placed(_) | Done::Counted(..) | Done::Timed(_)) {
            // Asked before: said now, it would stand at the broker after all else has been taken off.
            return Ok(());
        }
        let now = self.now();
        let input = match done {
            Done::Read(track, Ok((rows, seen))) => Input::Read { track, rows, seen },
            Done::Read(track, Err(error)) => {
                tracing::warn!(%error, lane = track.lane.as_str(), "the log cannot be read; trying again");
                Input::ReadFailed(track)
            }
            Done::Committed(track, Ok(true)) => Input::Committed(track),
            Done::Committed(track, Ok(false)) => {
                anyhow::bail!(
                    "the cursor of lane {} was moved by somebody else; beginning anew behind it",
                    track.lane.as_str()
                )
            }
            Done::Committed(track, Err(error)) if error.may_pass() => {
                tracing::warn!(%error, lane = track.lane.as_str(), "the cursor cannot be written; sending waits for it");
                Input::CommitFailed(track)
            }
            Done::Committed(_, Err(error)) => return Err(error.into()),
            Done::Placed(placed) => match self.speaker.state(&placed.unwrap_or_else(unplaced), now) {
                Some(state) => Input::Say(state),
                None => return Ok(()),
            },
            Done::Counted(wants, (head, lanes, _), Ok(figures)) => {
                if wants.health {
                    let health = self.speaker.health(&figures, self.session.passed(), self.cert_days(), now);
                    self.session.step(Input::Say(health), now.mono_us);
                }
                if !wants.watermark {
                    return Ok(());
                }
                Input::Say(self.speaker.voice.watermark(head, lanes, &figures))
            }
            Done::Counted(_, _, Err(error)) | Done::Noted(Err(error)) => {
                tracing::warn!(%error, "the store did not answer the uplink");
                return Ok(());
            }
            Done::Looked(looked) => {
                self.looked(looked);
                return Ok(());
            }
            Done::Noted(Ok(())) => return Ok(()),
            Done::Timed(times) => {
                self.timed(times);
                return Ok(());
            }
            Done::Ordered(answered) => self.ordered(answered),
            Done::Replayed(ended) => match self.replayed(ended) {
                Some(input) => input,
                None => return Ok(()),
            },
            Done::TakenOff(answer) => {
                self.taken_off(answer);
                return Ok(());
            }
        };
        self.session.step(input, now.mono_us);
        Ok(())
    }

    fn note(&mut self, what: &'static str, detail: String) {
        let store = self.kit.store.clone();
        self.jobs.spawn(async move { Done::Noted(figures::note(store, what, detail).await) });
    }

    /// Shows how it is on the node's own screen.
    fn show(&mut self) {
        let now = self.now();
        if self.sign.trouble(self.session.trouble(), now) {
            self.note("held", "the broker takes no events of a lane; see the alarms".to_owned());
        }
        if self.session.is_rival_gone(now.mono_us) {
            self.sign.takeover(self.session.rival(), now);
        }
        let way = match self.session.next_try_us() {
            _ if self.stay.standing().is_mute() => Way::Mute(self.stay.standing()),
            _ if self.session.is_connected() => Way::Connected,
            None => Way::Connecting,
            Some(at_us) => Way::Waiting(at_us),
        };
        self.sign.post(way, self.session.in_flight(), self.session.budget_left_kib(), now);
    }
}

/// Positions go out without the store's word on places rather than not at all.
fn unplaced(error: store::StoreError) -> Vec<AssetState> {
    tracing::warn!(%error, "the places of the node's assets cannot be read; the state goes by the last known");
    Vec::new()
}

fn url(config: &Uplink) -> String {
    let Uplink { tls, host, port, .. } = config;
    format!("{}://{host}:{port}", if *tls { "mqtts" } else { "mqtt" })
}
