//! The node of a simulated world: what is in memory, and the store under it.

use super::*;

pub(super) const RULES: Rules = Rules { window: 16, gather_us: 200_000, ..world_tests::RULES };

/// A process: what a crash takes away, and the store that it leaves.
pub(super) struct Node {
    /// None only while it ends.
    pub kit: Option<Arc<Kit>>,
    pub session: Session,
    /// A connection is asked for and not answered.
    pub dialling: bool,
    /// Looks and commits that the store has not answered.
    pub jobs: Vec<Effect>,
    /// The end of a replay is in the store, and the node has not been told.
    pub ending: bool,
    /// Reads that wait for their commit: code, instant, number on the connection.
    pub waiting: VecDeque<(String, Stamp, u64)>,
    pub nth: u64,
    writer: Option<std::thread::JoinHandle<()>>,
}

impl Node {
    pub async fn open(dir: &Path, clock: &Clock, seed: u64) -> Self {
        let (store, seat) = Store::open(dir, &identity("b"), clock, |_| {}).unwrap();
        let ctx = Ctx { beat: Beat::new("writer", clock.clone()), stop: CancellationToken::new() };
        let writer = Some(std::thread::spawn(move || seat.run(&ctx).unwrap()));
        let cursors = store.read(|reader| Ok((reader.cursor(Lane::Scan)?, reader.cursor(Lane::Fix)?))).await.unwrap();
        let head = *store.head().borrow();
        let (base, cap, spread) = (Duration::from_secs(1), Duration::from_secs(10), Duration::from_secs(2));
        let policy = Decorrelated::new(base, cap, spread, seed);
        let mut session = Session::new(RULES, policy, head, cursors.0, cursors.1);
        if let Some(replay) = centre::unfinished(&store).await.unwrap() {
            session.step(Input::Replay(Some((replay.through, replay.to))), clock.now().mono_us);
        }
        let kit = Kit {
            config: config(1),
            names: names(),
            store,
            board: Board::default(),
            clock: clock.clone(),
            keeper: Keeper::with_ntp_mark(clock.clone(), 0, "/nonexistent/mark".into()),
            tally: Tally::new(clock.clone()),
            published: Arc::default(),
            frozen: Arc::default(),
            archives: Arc::new(()),
            limits: Limits::default(),
        };
        let (jobs, waiting) = (Vec::new(), VecDeque::new());
        Self { kit: Some(Arc::new(kit)), session, dialling: false, jobs, ending: false, waiting, nth: 0, writer }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Without anybody who could ask it something the writer ends at once.
        self.kit = None;
        if let Some(writer) = self.writer.take() {
            // A panic of its own was shown already.
            drop(writer.join());
        }
    }
}

/// Stores the `n`th fix.
pub(super) fn fix(txn: &mut Txn<'_>, n: u64, at: Stamp) -> Result<()> {
    let mut id = [0xf1; 16];
    id[8..].copy_from_slice(&n.to_be_bytes());
    let draft = Draft {
        id: EventId(id),
        kind: Kind::Fix,
        ts_ms: at.wall_ms,
        tq: TimeQuality::Ntp,
        received: at,
        source: Some("gps0".into()),
        asset: Some("TRK-07".into()),
        place: None,
        code: None,
        body: "{}".into(),
    };
    txn.append(&draft)?;
    txn.frame("gps0", Outcome::Stored);
    Ok(())
}
