//! The worker's loop: one place that waits (on the connection, the head, the board, answers of the store, time and the
//! stop), hands what happened to the session and carries out what it says.

use std::sync::Arc;
use std::time::Duration;

use ::backoff::backoff::Backoff;
use tokio::task::JoinSet;

use crate::clock::BootTime;
use crate::config::{Protocol, Uplink};
use crate::domain::{AssetState, Lane, Seq, Stamp};
use crate::health::{Ctx, Outcome, ReconnectReason, wedge};
use crate::store;

use super::Kit;
use super::backoff::Decorrelated;
use super::fault::{Fault, Mend};
use super::figures;
use super::lane::{Queued, Track};
use super::link::{Greeting, Link, Said};
use super::payload::{Figures, Voice};
use super::script::{Effect, Input, micros, rules};
use super::session::Session;
use super::sign::{Sign, Way};
use super::speaker::{Marks, Speaker, Wants};

/// How long one round of the loop may take.
const ROUND: Duration = Duration::from_secs(20);
/// How long the last word may take after everything else is done.
const LAST_WORD_US: i64 = 500_000;

/// An answer of the store.
enum Done {
    Read(Track, store::Result<(Vec<Queued>, Seq)>),
    Committed(Track, store::Result<bool>),
    Placed(store::Result<Vec<AssetState>>),
    Counted(Wants, Marks, store::Result<Figures>),
    Noted(store::Result<()>),
    Timed(store::Result<Vec<BootTime>>),
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
    policy: Decorrelated,
    link: Option<Link>,
    connected_us: Option<i64>,
    next_try_us: Option<i64>,
    jobs: JoinSet<Done>,
    said: Vec<Said>,
    effects: Vec<Effect>,
    stopping: Stopping,
    sign: Sign,
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
        let (scan, fix) = kit.store.read(|reader| Ok((reader.cursor(Lane::Scan)?, reader.cursor(Lane::Fix)?))).await?;
        let session = Session::new(rules(&kit), *kit.store.head().borrow(), scan, fix);
        let names = kit.names.clone();
        let base = format!("{}/v1/{}/{}", kit.config.prefix, names.site, names.node);
        let voice = Voice { base, names, boot: kit.store.boot(), epoch: kit.store.epoch() };
        let Uplink { backoff_max, backoff_spread, protocol, health, .. } = kit.config;
        // Nodes that lose a broker together differ in epoch and time.
        let seed = kit.store.epoch().0 ^ kit.clock.now().mono_us.cast_unsigned();
        let url = url(&kit.config);
        let sign = Sign::new(kit.board.clone(), url);
        if protocol == Protocol::V311 {
            tracing::warn!("MQTT 3.1.1: a broker that throws a message away cannot say so");
            sign.blind(kit.clock.now());
        }
        Ok(Self {
            session,
            speaker: Speaker::new(voice, kit.board.clone(), health),
            policy: Decorrelated::new(kit.limits.backoff_base, backoff_max, backoff_spread, seed),
            link: None,
            connected_us: None,
            next_try_us: Some(i64::MIN),
            jobs: JoinSet::new(),
            said: Vec::new(),
            effects: Vec::new(),
            stopping: Stopping::No,
            sign,
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
        if self.link.is_none() && self.stopping == Stopping::No && self.next_try_us.is_some_and(|at| at <= now.mono_us)
        {
            self.connect().await;
        }
        if self.connected_us.is_some() && self.stopping == Stopping::No {
            self.speak();
        }
        self.plan();
        self.part();
        self.show();
        Ok(())
    }

    /// Somebody wants dead events sent again. What was asked before the session began it reads at its connect.
    fn resend(&mut self) {
        let now_us = self.now().mono_us;
        self.session.step(Input::Resend, now_us);
    }

    fn marks(&self) -> Marks {
        (self.session.head(), Lane::ALL.map(|lane| self.session.lane(lane)))
    }

    fn is_settled(&self) -> bool {
        self.session.is_drained() && self.session.is_quiet()
    }

    fn wait(&self) -> Duration {
        let mut due = self.session.due_us().unwrap_or(i64::MAX);
        match self.stopping {
            Stopping::Settling(until) | Stopping::Parting(until) | Stopping::Leaving(until) => due = due.min(until),
            Stopping::No | Stopping::Done => {}
        }
        if self.connected_us.is_some() {
            due = due.min(self.speaker.due_us(&self.marks(), self.is_settled()));
        } else if self.link.is_none() {
            due = due.min(self.next_try_us.unwrap_or(i64::MAX));
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
            Said::Published(pkid) => {
                if let Some(link) = &mut self.link {
                    link.published(pkid);
                }
            }
            Said::Acked { pkid, code } => {
                let Some(ticket) = self.link.as_mut().and_then(|link| link.acked(pkid)) else { return Ok(()) };
                if let Some(answer) = self.session.step(Input::Answered { ticket, code }, now.mono_us) {
                    self.kit.tally.uplink_publishes(answer.lane, code);
                    self.kit.tally.uplink_publish_seconds(Duration::from_micros(answer.took_us.unsigned_abs()));
                }
                if self.connected_us.is_some_and(|at| now.mono_us - at >= micros(self.kit.limits.healthy)) {
                    self.policy.reset();
                }
            }
            Said::Standing { topic, empty } => {
                if let Some(over) = self.speaker.standing(&topic).filter(|_| !empty) {
                    self.session.step(Input::Say(over), now.mono_us);
                }
            }
            Said::Over(fault) => self.lost(&fault),
        }
        Ok(())
    }

    async fn connect(&mut self) {
        self.next_try_us = None;
        let config = &self.kit.config;
        let password = match &config.password_file {
            Some(path) => match figures::password(path.clone()).await {
                Ok(password) => Some(password),
                Err(error) => {
                    let text = format!("uplink.password_file {} cannot be read: {error}", path.display());
                    return self.lost(&Fault {
                        mend: Some(Mend::Credentials),
                        ..Fault::given_up(ReconnectReason::Auth, text)
                    });
                }
            },
            None => None,
        };
        let greeting = Greeting { password, will: self.speaker.will(), window: config.window.max(1) };
        self.link = Some(Link::open(config, greeting));
    }

    async fn connected(&mut self, receive_max: usize, packet_max: usize, retains: bool) {
        let now = self.now();
        self.connected_us = Some(now.mono_us);
        self.sign.mend(None, "", now);
        let detail = format!("{} receive_max {receive_max} packet_max {packet_max}", self.sign.url());
        tracing::info!(broker = self.sign.url(), receive_max, packet_max, "connected to the broker");
        self.note("connected", detail);
        if let Some(link) = &self.link
            && !link.ask_standing(&format!("{}/alarm/+", self.speaker.voice.base))
        {
            tracing::debug!("the client took no subscription; old alarms may stand at the broker");
        }
        self.session.step(Input::Connected { receive_max, packet_max, retains }, now.mono_us);
        self.speaker.look();
        let placed = figures::places(self.kit.store.clone(), self.speaker.assets()).await.unwrap_or_else(unplaced);
        for message in self.speaker.greet(&placed, now) {
            self.session.step(Input::Say(message), now.mono_us);
        }
        let times = figures::times(self.kit.store.clone()).await;
        self.timed(times);
    }

    /// The connection, or the try to make one, is over: what waits for it, and when the next is.
    fn lost(&mut self, fault: &Fault) {
        let now = self.now();
        self.link = None;
        let stood = self.connected_us.take().is_some();
        if matches!(self.stopping, Stopping::Parting(_) | Stopping::Leaving(_) | Stopping::Done) {
            self.stopping = Stopping::Done;
            return;
        }
        self.session.step(Input::Lost { by_peer: fault.by_peer && stood, code: fault.code }, now.mono_us);
        let wait = match (stood, fault.mend) {
            // Known, or sent alone next.
            (true, None) if self.session.is_one_to_blame() => self.kit.limits.retry_base,
            (true, None) => self.policy.after_loss(),
            _ => self.policy.next_wait(),
        };
        self.next_try_us = Some(now.mono_us.saturating_add(micros(wait)));
        self.sign.mend(fault.mend, &fault.text, now);
        self.kit.tally.uplink_reconnects(fault.reason);
        let what = if stood { "lost" } else { "refused" };
        let new = self.sign.last_error != fault.text;
        if stood || new {
            tracing::warn!(
                reason = fault.reason.as_str(),
                error = fault.text,
                wait_ms = micros(wait) / 1_000,
                "no connection to the broker"
            );
            self.note(what, format!("{}: {}", fault.reason.as_str(), fault.text));
        }
        self.sign.last_error.clone_from(&fault.text);
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

    fn plan(&mut self) {
        let now_us = self.now().mono_us;
        let mut effects = std::mem::take(&mut self.effects);
        self.session.plan(now_us, &mut effects);
        for effect in effects.drain(..) {
            self.carry_out(effect);
        }
        self.effects = effects;
    }

    fn carry_out(&mut self, effect: Effect) {
        let kit = Arc::clone(&self.kit);
        match effect {
            Effect::Publish { ticket, message, .. } => {
                // Without a link the session knows already that it is lost.
                let Some(link) = &mut self.link else { return };
                if !link.publish(ticket, message) {
                    // The window is smaller than the client's channel, so this is a client that has ended.
                    self.lost(&Fault::given_up(ReconnectReason::Client, "the client takes no publish".to_owned()));
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
            Done::Counted(wants, (head, lanes), Ok(figures)) => {
                if wants.health {
                    let health = self.speaker.health(&figures, self.session.passed(), now);
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
            Done::Noted(Ok(())) => return Ok(()),
            Done::Timed(times) => {
                self.timed(times);
                return Ok(());
            }
        };
        self.session.step(input, now.mono_us);
        Ok(())
    }

    /// Says what is new of the time of boots, before the events that it is about.
    fn timed(&mut self, times: store::Result<Vec<BootTime>>) {
        let now_us = self.now().mono_us;
        match times {
            Ok(times) => {
                let (messages, is_trusted) = self.speaker.times(&times);
                for message in messages {
                    self.session.step(Input::Say(message), now_us);
                }
                if is_trusted {
                    self.session.step(Input::Trusted, now_us);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "what is known of the time cannot be read; trying again");
                self.speaker.ask_times();
            }
        }
    }

    fn stop(&mut self) {
        let now_us = self.now().mono_us;
        self.session.step(Input::Stop, now_us);
        self.stopping = Stopping::Settling(now_us + micros(self.kit.limits.farewell));
    }

    /// Takes a stop one step on: settle what is in flight, say the last word, part.
    fn part(&mut self) {
        let now = self.now();
        match self.stopping {
            Stopping::Settling(until) if self.session.is_quiet() || now.mono_us >= until => {
                if self.connected_us.is_none() {
                    self.stopping = Stopping::Done;
                    return;
                }
                self.session.step(Input::Say(self.speaker.farewell(now)), now.mono_us);
                self.stopping = Stopping::Parting(now.mono_us + LAST_WORD_US);
                self.plan();
            }
            Stopping::Parting(until) if self.session.is_quiet() || now.mono_us >= until => {
                let asked = self.link.as_ref().is_some_and(Link::disconnect);
                self.stopping = if asked { Stopping::Leaving(now.mono_us + LAST_WORD_US) } else { Stopping::Done };
            }
            Stopping::Leaving(until) if now.mono_us >= until => self.stopping = Stopping::Done,
            _ => {}
        }
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
        let way = match (self.connected_us, &self.link) {
            (Some(_), _) => Way::Connected,
            (None, Some(_)) => Way::Connecting,
            (None, None) => Way::Waiting(self.next_try_us.unwrap_or(now.mono_us)),
        };
        self.sign.post(way, self.session.in_flight(), now);
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
