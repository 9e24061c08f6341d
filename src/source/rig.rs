//! What the tests of this room stand on: a real worker on a real port, and its inputs with a deadline.

use std::fs::File;
use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Conn, Input, Lost, SourceSpec, worker};
use crate::clock::Clock;
use crate::config::{Line, Parity, Port};
use crate::health::{Beat, Board, Body, Ctx, Light, Outcome, SourceCondition, SourceState, State, Worker};

/// Longer than anything here may take.
const DEADLINE: Duration = Duration::from_secs(30);

pub async fn within<F: Future>(what: &str, wanted: F) -> F::Output {
    timeout(DEADLINE, wanted).await.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"))
}

/// A worker at work.
pub struct Rig {
    pub board: Board,
    pub light: Light,
    pub rx: mpsc::Receiver<Input>,
    pub stop: CancellationToken,
    pub beat: Beat,
    pub spec: SourceSpec,
    worker: Worker,
    runs: JoinSet<Outcome>,
}

pub fn spec(kind: &'static str, port: Port) -> SourceSpec {
    SourceSpec {
        quiet_after: None,
        id: "s1".into(),
        kind,
        port,
        baud_try: Duration::from_millis(200),
        line: Line { baud: Some(9600), serial: (8, Parity::None, 1) },
        allow: Vec::new(),
        reply: false,
        silent_after: None,
        bound: tokio::sync::watch::Sender::new(None),
    }
}

impl Rig {
    pub fn start(spec: SourceSpec) -> Self {
        Self::start_with_room(spec, 64)
    }

    pub fn start_with_room(spec: SourceSpec, room: usize) -> Self {
        let (clock, board) = (Clock::system(), Board::default());
        let light = Light::new(board.clone(), clock.clone(), &spec.id, spec.kind, &spec.port);
        let (tx, rx) = mpsc::channel(room);
        let worker = worker(spec.clone(), tx, light.clone(), clock.clone());
        assert_eq!(worker.name, "source:s1");
        let beat = Beat::new(&worker.name, clock);
        let mut rig =
            Self { board, light, rx, stop: CancellationToken::new(), beat, spec, worker, runs: JoinSet::new() };
        rig.run();
        rig
    }

    fn run(&mut self) {
        let Body::Task(run) = &self.worker.body else { panic!("a source is a task") };
        self.runs.spawn(run(Ctx { beat: self.beat.clone(), stop: self.stop.clone() }));
    }

    /// Ends the run from outside, as a supervisor ends one that hangs, and begins another.
    pub async fn restart(&mut self) {
        self.runs.shutdown().await;
        self.run();
    }

    /// Waits until the run is over.
    pub async fn ended(&mut self) -> Outcome {
        within("end of the run", self.runs.join_next()).await.unwrap().unwrap()
    }

    pub async fn next(&mut self) -> Input {
        within("an input", self.rx.recv()).await.unwrap()
    }

    pub async fn opened(&mut self) -> (Conn, Option<SocketAddr>, Option<mpsc::Sender<String>>) {
        match self.next().await {
            Input::Opened { conn, peer, reply, .. } => (conn, peer, reply),
            other => panic!("not opened: {other:?}"),
        }
    }

    pub async fn lost(&mut self) -> (Conn, Lost) {
        match self.next().await {
            Input::Lost { conn, why, .. } => (conn, why),
            other => panic!("not lost: {other:?}"),
        }
    }

    pub async fn bytes(&mut self) -> (Conn, Vec<u8>) {
        match self.next().await {
            Input::Bytes { conn, bytes, .. } => (conn, bytes),
            other => panic!("no bytes: {other:?}"),
        }
    }

    /// Bytes until there are `n`.
    pub async fn collect(&mut self, n: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < n {
            all.extend(self.bytes().await.1);
        }
        all
    }

    pub fn state(&self) -> SourceState {
        match self.board.get("source", "s1") {
            Some(State::Source(state)) => state,
            other => panic!("no source on the board: {other:?}"),
        }
    }

    /// Waits until the board shows the condition.
    pub async fn shows(&self, condition: SourceCondition) -> SourceState {
        let mut moved = self.board.watch();
        within(condition.as_str(), async {
            while self.state().state != condition {
                moved.changed().await.unwrap();
            }
        })
        .await;
        self.state()
    }

    /// Where the listener listens.
    pub async fn bound(&self) -> SocketAddr {
        let mut bound = self.spec.bound.subscribe();
        within("a bound address", bound.wait_for(Option::is_some)).await.unwrap().unwrap()
    }
}

/// The far end of a pty, and the path of the near one.
pub struct Pty {
    pub master: File,
    pub path: PathBuf,
}

impl Pty {
    pub fn new() -> Self {
        // SAFETY: plain libc calls on a descriptor that is owned from the first line on; the name fits the buffer.
        unsafe {
            let fd = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
            assert!(fd >= 0, "no pty");
            let master = File::from_raw_fd(fd);
            assert_eq!((libc::grantpt(fd), libc::unlockpt(fd)), (0, 0));
            let mut name = [0; 64];
            assert_eq!(libc::ptsname_r(fd, name.as_mut_ptr(), name.len()), 0);
            let name = std::ffi::CStr::from_ptr(name.as_ptr()).to_str().unwrap();
            Self { master, path: PathBuf::from(name) }
        }
    }

    pub fn say(&mut self, text: &[u8]) {
        self.master.write_all(text).unwrap();
    }

    /// The rate that is set on it.
    pub fn baud(&self) -> u32 {
        // SAFETY: `set` is a valid place for the answer.
        unsafe {
            let mut set: libc::termios2 = std::mem::zeroed();
            assert_eq!(libc::ioctl(self.master.as_raw_fd(), libc::TCGETS2, &raw mut set), 0);
            set.c_ospeed
        }
    }
}

/// How many descriptors of this process are open on `path`.
pub fn open_on(path: &Path) -> usize {
    let fds = std::fs::read_dir("/proc/self/fd").unwrap();
    fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().trim_end_matches(" (deleted)") == path.to_string_lossy())
        .count()
}
