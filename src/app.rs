//! Wiring: opens the store, makes the channels, builds the workers and hands them to the supervisor. Nothing is decided here.

mod almanac;
mod archive;
mod desk;
mod gauge;
mod integrity;
mod machine;
mod outlook;
mod pressure;
mod sentry;
mod starts;
mod waiting;
mod yard;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use crate::clock::{Clock, Keeper};
use crate::config::{self, Config, Http, Port, SendFrom};
use crate::health::{
    Alarm, Board, End, Light, Notify, Running, Severity, State, Supervisor, Tally, UplinkState, Worker, alarms, wedge,
};
use crate::ingest::{self, Carriers, Feed, Origin, Ring};
use crate::retention::room::Need;
use crate::retention::{Archived, Retention};
use crate::screen::{Captures, Parts, Screen};
use crate::source::{self, SourceSpec};
use crate::store::{Commit, Finding, Identity, Store, StoreError, WriterSeat};
use crate::uplink;

use archive::Archive;
use starts::{Holder, Starts};
use yard::Yard;

/// SIGTERM to exit. Contract section 8: 10 s.
const STOP_WITHIN: Duration = Duration::from_secs(9);
/// The store has to be opened anew: EX_IOERR of sysexits(3).
const EXIT_STORE: u8 = 74;
/// How much nicer what gives way is than the rest, whatever nice value the node was started with: a third of a processor that
/// others want whole, so that it gets on there too.
const GIVES_WAY: i32 = 5;
/// Stages of the stop: what reads first, then what takes in, then what goes out, the writer last.
const STAGE_SOURCE: u8 = 0;
const STAGE_INGEST: u8 = 1;
const STAGE_OUT: u8 = 2;
const STAGE_WRITER: u8 = 3;

pub use desk::{carry_out, purge, restore};

/// A node that is about to start.
pub struct App {
    /// The checked configuration.
    pub config: Config,
    /// Why the files of today are not used, when the node runs on its last good configuration.
    pub kept_because: Option<String>,
    /// Where `status` and the other commands find the node.
    pub control: PathBuf,
}

/// A node that runs.
pub struct Node {
    /// Its workers.
    pub running: Running,
    /// Where its screen listens, as soon as it does.
    pub addresses: watch::Receiver<Vec<SocketAddr>>,
    http: Http,
    notify: Notify,
    starts: Starts,
    runtime: tokio::runtime::Runtime,
    chores: tokio::runtime::Runtime,
    trouble: watch::Receiver<Option<String>>,
}

impl App {
    /// Opens the store and starts every worker.
    ///
    /// # Errors
    /// The store's own, with its remedy in words; or the runtime cannot be made. Nothing runs then.
    pub fn start(self) -> anyhow::Result<Node> {
        let clock = Clock::system();
        let (board, tally) = (Board::default(), Tally::new(clock.clone()));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let chores = chores()?;
        let committed_ms = Arc::new(AtomicI64::new(clock.now().mono_ms()));
        let notify = Notify::from_env(clock.clone());
        let starts = Starts::begin(runtime_folder().as_deref(), &boot_id());
        let (store, seat) = runtime.block_on(self.open(&clock, &tally, &notify, &committed_ms, starts.is_safe))?;
        let known = runtime.block_on(store.read({
            let boot = store.boot();
            move |reader| reader.anchors(boot)
        }));
        let known = known.unwrap_or_else(|error| {
            tracing::warn!(%error, "what a run before this one knew of the time cannot be read; it is learned again");
            Vec::new()
        });
        let keeper = keeper_of(&store, &clock).knowing(known);
        let trouble = store.trouble();
        store.findings().iter().for_each(|finding| raise_finding(&board, finding));
        let mut supervisor =
            Supervisor::new(clock.clone(), board.clone(), tally.clone(), runtime.handle().clone(), notify.clone());
        let published = Arc::new(AtomicI64::new(0));
        let yard = runtime.block_on(Yard::open(&self.config, &store))?;
        let carriers = runtime.block_on(yard.carriers(&self.config, &store, clock.now()))?;
        let node = self.intake_node(&store, &board, &tally, &keeper, &published, &carriers);
        let mut holder = Holder::of(&starts);
        let rings = self.add_inputs(&mut supervisor, &node, &mut holder);
        let (desk, orders) = mpsc::channel(ingest::orders::ORDERS_MAX);
        let clerk = desk::clerk(&self.config, store.clone(), board.clone(), keeper.clone(), carriers, yard.ground);
        supervisor.add(STAGE_INGEST, ingest::orders::worker(clerk, orders));
        let (screen, addresses) = Screen::new(Parts {
            http: self.config.http.clone(),
            node: self.config.node.clone(),
            control: Some(self.control.clone()),
            store: store.clone(),
            board: board.clone(),
            tally: tally.clone(),
            roster: supervisor.roster(),
            clock: clock.clone(),
            plan: (yard.text.clone(), self.config.plan.clone()),
            desk,
            captures: captures_of(rings.clone(), clock.clone()),
            forget: Arc::new(move |id| rings.get(id).map_or(Ok(()), Ring::forget)),
            keys_of: ingest::keys_of,
        });
        for worker in screen.workers() {
            supervisor.add(STAGE_OUT, worker);
        }
        if let Some(uplink) = self.uplink(&store, &board, &tally, &keeper, published) {
            holder.add(&mut supervisor, STAGE_OUT, uplink.on(chores.handle().clone()));
        }
        self.add_keepers(&mut supervisor, node, (committed_ms, &starts), chores.handle(), &mut holder);
        let ready = addresses.clone();
        supervisor.add(STAGE_OUT, starts::worker(starts.clone(), holder.held, ready, board.clone(), clock.clone()));
        supervisor.add(STAGE_WRITER, Worker::thread("writer", move |ctx| seat.run(&ctx)));
        supervisor.exit_after(Duration::from_secs(2));
        if let Some(why) = self.kept_because {
            raise_kept(&board, &clock, why);
        }
        if let Some(state) = yard.state {
            board.post(State::Zones(state));
        }
        if let Some((why, advice)) = yard.trouble {
            raise_plan(&board, &clock, &why, advice);
        }
        let running = supervisor.start()?;
        let http = self.config.http.clone();
        Ok(Node { running, addresses, http, notify, starts, runtime, chores, trouble })
    }

    /// Opens the store, when its disk takes something again if need be.
    async fn open(
        &self,
        clock: &Clock,
        tally: &Tally,
        notify: &Notify,
        committed_ms: &Arc<AtomicI64>,
        is_safe: bool,
    ) -> Result<(Store, WriterSeat), StoreError> {
        let open = || {
            let (tally, committed_ms, at) = (tally.clone(), Arc::clone(committed_ms), clock.clone());
            open_store(&self.config, clock, move |commit| {
                if commit.ok {
                    committed_ms.store(at.now().mono_ms(), Ordering::Release);
                    tally.commit_seconds(commit.took);
                }
            })
        };
        waiting::store(&self.config, &self.control, notify, is_safe, open).await
    }

    /// Who looks after the node itself: the disk, the store, the log's length, what stands and what was restarted.
    fn add_keepers(
        &self,
        supervisor: &mut Supervisor,
        node: ingest::Node,
        (committed_ms, starts): (Arc<AtomicI64>, &Starts),
        chores: &Handle,
        holder: &mut Holder,
    ) {
        let ingest::Node { store, board, tally, keeper, thin_s, .. } = node;
        let (needs, needed) = watch::channel(Need::default());
        let (tell, told) = mpsc::channel(64);
        let clock = keeper.clock();
        let gauge = gauge::Parts {
            store: store.clone(),
            board: board.clone(),
            keeper: keeper.clone(),
            tally: tally.clone(),
            max_mib: self.config.store.max_mib,
            policy: self.config.store.full_policy,
            uplink: self.config.uplink.is_some(),
            thin_s,
            needs,
        };
        supervisor.add(STAGE_OUT, gauge::worker(gauge, told));
        let proof = sentry::Proof { committed_ms, control: self.control.clone(), ended: starts.ended.clone() };
        supervisor.add(STAGE_OUT, sentry::worker(store.clone(), board.clone(), clock.clone(), tally, proof));
        supervisor.add(STAGE_OUT, integrity::worker(store.clone(), board.clone(), clock.clone()).on(chores.clone()));
        let moved = self.config.gps.iter().map(|gps| gps.asset.clone()).collect();
        let confirm = self.config.uplink.as_ref().is_some_and(|uplink| uplink.confirm);
        let retention = Retention::new(store, board, keeper, &self.config.store, moved, needed).confirmed(confirm);
        holder.add(supervisor, STAGE_OUT, retention.worker().on(chores.clone()));
        starts.listen(supervisor, tell);
    }

    /// What all sources share.
    fn intake_node(
        &self,
        store: &Store,
        board: &Board,
        tally: &Tally,
        keeper: &Keeper,
        published: &Arc<AtomicI64>,
        carriers: &Carriers,
    ) -> ingest::Node {
        ingest::Node {
            id: self.config.node.id.clone(),
            boot_id: boot_id(),
            unknown: self.config.assets.unknown,
            keep: Duration::from_secs(u64::from(self.config.store.retention_days) * 86_400),
            fix_group: self.config.store.fix_group,
            own_asset: self.own_asset(),
            published: Arc::clone(published),
            thin_s: Arc::default(),
            store: store.clone(),
            board: board.clone(),
            tally: tally.clone(),
            keeper: keeper.clone(),
            carriers: Arc::clone(carriers),
            motion: self.config.motion,
        }
    }

    fn add_inputs(
        &self,
        supervisor: &mut Supervisor,
        node: &ingest::Node,
        holder: &mut Holder,
    ) -> BTreeMap<String, Ring> {
        let gps = self.config.gps.iter().map(|gps| (SourceSpec::from(gps), Feed::Gps(gps.clone())));
        let scanners = self.config.scanners.iter().map(|one| (SourceSpec::from(one), Feed::Scanner(one.clone())));
        let mut rings = BTreeMap::new();
        for (spec, feed) in gps.chain(scanners) {
            let (tx, rx) = mpsc::channel(ingest::CHUNKS);
            let clock = node.keeper.clock();
            let origin = Origin {
                source: spec.id.clone(),
                kind: spec.kind,
                port: spec.port.to_string(),
                baud: spec.line.baud.filter(|_| matches!(spec.port, Port::Serial(_))),
                boot: node.boot_id.clone(),
            };
            let ring = Ring::open(&self.config.store.dir.join("captures"), origin, clock.now());
            rings.insert(spec.id.clone(), ring.clone());
            let light = Light::new(node.board.clone(), clock.clone(), &spec.id, spec.kind, &spec.port);
            holder.add(supervisor, STAGE_SOURCE, source::worker(spec, tx, light.clone(), clock.clone()));
            supervisor.add(STAGE_INGEST, ingest::worker(node.clone(), feed, light, ring, rx));
        }
        rings
    }

    /// The uplink; none where no platform is configured.
    fn uplink(
        &self,
        store: &Store,
        board: &Board,
        tally: &Tally,
        keeper: &Keeper,
        published: Arc<AtomicI64>,
    ) -> Option<Worker> {
        let Some(config) = self.config.uplink.clone() else {
            board.post(State::Uplink(UplinkState {
                configured: false,
                state: "off",
                url: String::new(),
                since_ms: keeper.clock().now().wall_ms,
                ever_connected: false,
                last_error: String::new(),
                next_try_ms: None,
                inflight: 0,
                budget_left_kib: None,
                certificate_not_after_s: None,
            }));
            return None;
        };
        let names = uplink::NodeNames {
            site: self.config.node.site.clone(),
            node: self.config.node.id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config_digest: self.config.digest.clone(),
            assets: self.config.gps.iter().map(|gps| gps.asset.clone()).collect::<BTreeSet<_>>().into_iter().collect(),
            quota_mib: Some(self.config.store.max_mib),
        };
        let ties = uplink::Ties { published, archives: Arc::new(Archive(Archived::of(store.path()))) };
        Some(uplink::worker(config, names, store.clone(), board.clone(), keeper.clone(), tally.clone(), ties))
    }

    /// The asset that the node's first receiver moves: where the node itself is.
    fn own_asset(&self) -> String {
        self.config
            .gps
            .iter()
            .min_by_key(|gps| gps.rank)
            .map_or_else(|| self.config.node.id.clone(), |gps| gps.asset.clone())
    }
}

impl Node {
    /// Says that the node is up, then waits for SIGTERM, SIGINT or the end of a worker that cannot be brought back.
    ///
    /// # Errors
    /// The signals cannot be heard.
    pub fn wait(self) -> anyhow::Result<ExitCode> {
        let (running, over) = (self.running.clone(), self.running.over());
        let mut addresses = self.addresses.clone();
        let (notify, http, mut trouble) = (self.notify.clone(), self.http.clone(), self.trouble.clone());
        let starts = self.starts;
        let in_trouble = self.runtime.block_on(async move {
            use tokio::signal::unix::{SignalKind, signal};
            let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
            let mut hup = signal(SignalKind::hangup())?;
            let (mut ready, mut in_trouble) = (false, false);
            loop {
                tokio::select! {
                    _ = term.recv() => break,
                    _ = int.recv() => break,
                    _ = hup.recv() => tracing::warn!("a new configuration is read at a restart: systemctl restart waypost"),
                    () = over.cancelled() => return Ok(false),
                    Ok(_) = trouble.wait_for(Option::is_some) => {
                        in_trouble = true;
                        break;
                    }
                    changed = addresses.changed(), if !ready => {
                        // A closed channel is a screen that gave up; the supervisor tells of it.
                        ready = true;
                        if changed.is_ok() {
                            let urls: Vec<String> = addresses.borrow().iter().map(|at| http.url(*at)).collect();
                            notify.ready(&format!("screen at {}", urls.join(" ")));
                            tracing::info!(screen = urls.join(" "), "ready");
                            tell_way(&addresses.borrow());
                        }
                    }
                }
            }
            if in_trouble {
                tracing::error!("stopping for a new start: it sets the store right");
                starts.last_word("the store had to be opened anew to be set right", None);
            } else {
                starts.stopped();
                tracing::info!("stopping: what was read is stored, what was sent is settled");
            }
            notify.stopping("stopping");
            running.ask(STOP_WITHIN);
            anyhow::Ok(in_trouble)
        })?;
        let end = self.running.wait();
        match &end {
            End::Stopped { left } if left.is_empty() => tracing::info!("stopped"),
            End::Stopped { left } => tracing::warn!(workers = left.join(", "), "stopped; these did not end in time"),
            End::GaveUp(gave_up) => tracing::error!(worker = gave_up.worker, reason = gave_up.reason, "giving up"),
        }
        self.runtime.shutdown_timeout(Duration::from_millis(200));
        self.chores.shutdown_timeout(Duration::from_millis(200));
        Ok(ExitCode::from(if in_trouble { EXIT_STORE } else { end.exit_code() }))
    }
}

/// Where what can wait runs: the uplink, and the sweeps through the store. Its threads give way to those that take in and
/// show, whatever the backlog; on a processor of their own they lose nothing.
fn chores() -> std::io::Result<tokio::runtime::Runtime> {
    // SAFETY: of the calling thread alone, and nothing but numbers go in; it cannot fail for oneself.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) } + GIVES_WAY;
    // Not "nicer by so much": a thread begins with the value of the one that starts it, and that may give way already.
    let told = std::sync::Once::new();
    let give_way = move || {
        // SAFETY: as above.
        if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) } != 0 {
            let error = std::io::Error::last_os_error();
            told.call_once(|| {
                tracing::warn!(%error, "sending and sweeping keep the priority of intake: the service may not lower it");
            });
        }
    };
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("chores")
        .on_thread_start(give_way)
        .enable_all()
        .build()
}

/// Who knows how far the wall clock can be believed.
fn keeper_of(store: &Store, clock: &Clock) -> Keeper {
    let newest_ms = store.newest_trusted_ms();
    match wedge::turned("WAYPOST_NTP_MARK") {
        Some(mark) => Keeper::with_ntp_mark(clock.clone(), newest_ms, mark.into()),
        None => Keeper::new(clock.clone(), newest_ms),
    }
}

/// Opens the store under the name of this configuration.
fn open_store(
    config: &Config,
    clock: &Clock,
    on_commit: impl Fn(Commit) + Send + Sync + 'static,
) -> Result<(Store, WriterSeat), StoreError> {
    Store::open(&config.store.dir, &identity(config), clock, on_commit)
}

/// Whom the store writes as.
fn identity(config: &Config) -> Identity {
    Identity {
        site: config.node.site.clone(),
        node: config.node.id.clone(),
        boot_id: boot_id(),
        uplink: config.uplink.is_some(),
        skip_kept: config.uplink.as_ref().is_some_and(|uplink| uplink.send_from == SendFrom::Now),
        machine: machine::facts(),
    }
}

/// Says how a screen that is for this machine alone is seen from another one.
fn tell_way(bound: &[SocketAddr]) {
    if let Some(line) = config::tunnel(bound, "USER@THIS-MACHINE") {
        tracing::info!(
            line,
            "the screen is for this machine alone; the line brings it to another one, waypost screen says how to open it"
        );
    }
}

/// What the screen asks for the last minutes of a source.
fn captures_of(rings: BTreeMap<String, Ring>, clock: Clock) -> Captures {
    Arc::new(move |id| rings.get(id).map(|ring| ring.text(clock.now())))
}

fn raise_kept(board: &Board, clock: &Clock, why: String) {
    board.raise(Alarm {
        name: "config_invalid".into(),
        severity: Severity::Fault,
        since_ms: clock.now().wall_ms,
        text: format!("The configuration cannot be used, the last good one runs: {why}"),
        advice: "Mend the file, then: waypost check && systemctl restart waypost".into(),
        count: 1,
    });
}

/// What was found at the opening of the store is an alarm until a start that finds nothing.
fn raise_finding(board: &Board, finding: &Finding) {
    let Finding { name, text, advice, at_ms } = finding.clone();
    board.raise(Alarm { name: name.into(), severity: alarms::worst(name), since_ms: at_ms, text, advice, count: 1 });
}

fn raise_plan(board: &Board, clock: &Clock, why: &str, advice: &str) {
    tracing::error!(%why, "the plan cannot be used");
    board.raise(Alarm {
        name: "plan_invalid".into(),
        severity: Severity::Warn,
        since_ms: clock.now().wall_ms,
        text: format!("The plan cannot be used: {why}."),
        advice: advice.into(),
        count: 1,
    });
}

/// The kernel's boot id: from the unit where /proc is closed, else from /proc, else one of this process. systemd writes
/// it without hyphens, the kernel with: a command beside the unit must not take the same boot for a later one.
fn boot_id() -> String {
    let bare = |id: &str| id.trim().replace('-', "").to_ascii_lowercase();
    if let Ok(id) = std::env::var("WAYPOST_BOOT_ID")
        && !id.trim().is_empty()
    {
        return bare(&id);
    }
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| format!("process-{}-{}", std::process::id(), Clock::system().now().wall_ms), |id| bare(&id))
}

/// Where the commands find a node: the unit's runtime folder, else beside its store.
#[must_use]
pub fn control_path(store_dir: &Path) -> PathBuf {
    runtime_folder().unwrap_or_else(|| store_dir.to_owned()).join("control.sock")
}

/// The unit's folder in memory; none where no service manager has made one.
fn runtime_folder() -> Option<PathBuf> {
    std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from)
}
