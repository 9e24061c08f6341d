//! The connections that only read, and who looks with them right now: a look that stays keeps the write-ahead log from being
//! begun anew, and can be cut off.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, InterruptHandle};
use tokio::sync::Semaphore;

use super::error::{Result, StoreError};
use super::{Look, Reader, Store, schema};

/// The read connections of a store.
pub(super) struct Readers {
    idle: Mutex<Vec<Connection>>,
    busy: Mutex<Vec<Busy>>,
    next: AtomicU64,
    pub(super) permits: Arc<Semaphore>,
}

/// A look in hand.
struct Busy {
    number: u64,
    since: Instant,
    handle: InterruptHandle,
}

impl Readers {
    /// At most `n` at once.
    pub(super) fn new(n: usize) -> Self {
        let permits = Arc::new(Semaphore::new(n));
        Self { idle: Mutex::default(), busy: Mutex::default(), next: AtomicU64::default(), permits }
    }

    pub(super) fn with<T>(&self, path: &Path, look: impl FnOnce(&Reader<'_>) -> Look<T>) -> Result<T> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let conn = match idle {
            Some(conn) => conn,
            None => schema::open_reader(path)?,
        };
        let leave = self.enter(&conn);
        let answer = look(&Reader { conn: &conn });
        drop(leave);
        // A connection that failed is dropped, not put back: the next reader opens a fresh one.
        let answer = answer.map_err(|e| StoreError::of(path, &e))?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
        Ok(answer)
    }

    fn enter(&self, conn: &Connection) -> Leave<'_> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let one = Busy { number, since: Instant::now(), handle: conn.get_interrupt_handle() };
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).push(one);
        Leave { readers: self, number }
    }
}

/// Strikes a look off the list when it ends, in whatever way.
struct Leave<'a> {
    readers: &'a Readers,
    number: u64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.readers.busy.lock().unwrap_or_else(PoisonError::into_inner).retain(|one| one.number != self.number);
    }
}

impl Store {
    /// Cuts off the looks that last longer than this, and answers how many there were. Whoever looked is told so and may
    /// look again.
    pub fn cut_off(&self, longer: Duration) -> usize {
        let busy = self.readers.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let late = busy.iter().filter(|one| one.since.elapsed() > longer);
        late.inspect(|one| one.handle.interrupt()).count()
    }
}
