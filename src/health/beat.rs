//! How a worker says that it gets on. A beat is a promise about the next one, never a timer of its own:
//! it is given at real work and at real waits, so a worker that hangs goes quiet.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;

/// One worker's promise of progress. Clones share it.
#[derive(Clone, Debug)]
pub struct Beat {
    cell: Arc<Cell>,
    clock: Clock,
}

#[derive(Debug)]
struct Cell {
    worker: String,
    /// `CLOCK_BOOTTIME` µs by which the next beat was promised.
    due_us: AtomicI64,
    last_us: AtomicI64,
    turns: AtomicU64,
    /// Whether the last beat was the beginning of work, not of a wait.
    works: AtomicBool,
}

/// The longest wait a worker may promise. A longer sleep is taken in steps, so that a stall is noticed in time.
pub const PARKED_MAX: Duration = Duration::from_secs(10);

impl Beat {
    /// A worker's beat, due at once.
    #[must_use]
    pub fn new(worker: &str, clock: Clock) -> Self {
        let now = clock.now().mono_us;
        let cell = Cell {
            worker: worker.to_owned(),
            due_us: AtomicI64::new(now + micros(PARKED_MAX)),
            last_us: AtomicI64::new(now),
            turns: AtomicU64::new(0),
            works: AtomicBool::new(false),
        };
        Self { cell: Arc::new(cell), clock }
    }

    /// The worker's name.
    #[must_use]
    pub fn worker(&self) -> &str {
        &self.cell.worker
    }

    /// "I begin a piece of work and shall beat again within `budget`."
    ///
    /// In debug builds this is also where the test hook of [`crate::health::wedge`] strikes.
    pub fn working(&self, budget: Duration) {
        self.cell.works.store(true, Ordering::Release);
        self.promise(budget);
        crate::health::wedge::strike(&self.cell.worker);
    }

    /// "I wait for input and shall beat again within `wake`", at most [`PARKED_MAX`]; returns the wait to use.
    #[must_use]
    pub fn parked(&self, wake: Duration) -> Duration {
        let wake = wake.min(PARKED_MAX);
        self.cell.works.store(false, Ordering::Release);
        self.promise(wake + Duration::from_secs(2));
        wake
    }

    /// How long the promised beat is overdue; none when it is not.
    #[must_use]
    pub fn overdue(&self) -> Option<Duration> {
        let late = self.clock.now().mono_us - self.cell.due_us.load(Ordering::Acquire);
        u64::try_from(late).ok().filter(|late| *late > 0).map(Duration::from_micros)
    }

    /// How long it has been at one piece of work; none while it waits.
    #[must_use]
    pub fn at_work(&self) -> Option<Duration> {
        self.cell.works.load(Ordering::Acquire).then(|| self.age())
    }

    /// How long ago the last beat was.
    #[must_use]
    pub fn age(&self) -> Duration {
        let age = self.clock.now().mono_us - self.cell.last_us.load(Ordering::Acquire);
        Duration::from_micros(u64::try_from(age).unwrap_or(0))
    }

    /// Beats since the start.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.cell.turns.load(Ordering::Relaxed)
    }

    fn promise(&self, within: Duration) {
        let now = self.clock.now().mono_us;
        self.cell.last_us.store(now, Ordering::Release);
        self.cell.due_us.store(now.saturating_add(micros(within)), Ordering::Release);
        self.cell.turns.fetch_add(1, Ordering::Relaxed);
    }
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX / 2)
}

/// The beats of the workers that are expected to live. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Roster(Arc<Mutex<Vec<Beat>>>);

impl Roster {
    /// How long ago each worker said that it gets on.
    #[must_use]
    pub fn ages(&self) -> Vec<(String, Duration)> {
        self.lock().iter().map(|beat| (beat.worker().to_owned(), beat.age())).collect()
    }

    /// Adds a beat that is not among them.
    pub(super) fn admit(&self, beat: &Beat) {
        let mut beats = self.lock();
        if beats.iter().all(|known| known.worker() != beat.worker()) {
            beats.push(beat.clone());
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Vec<Beat>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Stamp;

    #[test]
    fn a_beat_is_overdue_only_after_its_own_promise() {
        let clock = Clock::manual(Stamp::default());
        let beat = Beat::new("writer", clock.clone());
        beat.working(Duration::from_secs(3));
        clock.advance_ms(2_999);
        assert_eq!(beat.overdue(), None);
        clock.advance_ms(1_001);
        assert_eq!(beat.overdue(), Some(Duration::from_secs(1)));
        assert_eq!(beat.parked(Duration::from_secs(3600)), PARKED_MAX);
        assert_eq!(beat.overdue(), None);
    }
}
