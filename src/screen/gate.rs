//! Who has the PIN: tries that are wrong close the gate for a while, the right one opens a session. Sessions and tries
//! live in memory alone: a restart ends every session.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;

use blake3::Hash;
use tokio_rustls::rustls::crypto::ring;

use crate::clock::Clock;
use crate::config::{self, Marks};

/// How long a session holds. Microseconds
pub(super) const SESSION_US: i64 = 8 * 3600 * 1_000_000;
/// Sessions at once; one more ends the oldest.
const SESSIONS_MAX: usize = 64;
/// Wrong PINs in a row that close the gate.
const WRONG_MAX: u32 = 5;
/// How long it is closed the first time; each further time twice as long. Microseconds
const CLOSED_US: i64 = 15 * 60 * 1_000_000;
/// How long it is closed at most. Microseconds
const CLOSED_MAX_US: i64 = 4 * 3600 * 1_000_000;

/// What the gate says to a PIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It is right: the secret of the new session, hexadecimal.
    Open(String),
    /// It is wrong; so many more wrong ones close the gate.
    Wrong(u32),
    /// It is wrong, and has closed the gate for so many seconds.
    Closing(i64),
    /// Nobody is heard for so many seconds.
    Closed(i64),
    /// There is no PIN.
    NoPin,
}

#[derive(Debug)]
struct Session {
    /// A digest of its secret: what is looked for takes equally long whatever is sent.
    key: Hash,
    until_us: i64,
}

/// What the gate remembers, all of it for one PIN: another one begins anew, and the same that was set again.
#[derive(Debug, Default)]
struct Book {
    pin: Option<Hash>,
    marks: Option<Marks>,
    sessions: VecDeque<Session>,
    wrong: u32,
    closings: u32,
    closed_until_us: i64,
}

/// The gate before what only the operator may do.
#[derive(Debug)]
pub(super) struct Gate {
    file: PathBuf,
    clock: Clock,
    book: std::sync::Mutex<Book>,
}

impl Gate {
    pub(super) fn new(file: PathBuf, clock: Clock) -> Self {
        Self { file, clock, book: std::sync::Mutex::default() }
    }

    /// Looks at the PIN's file, and whether there is one. A PIN that was set ends every session, the same one too.
    ///
    /// # Errors
    /// When there is one that cannot be used.
    pub(super) async fn look(&self) -> io::Result<bool> {
        let file = self.file.clone();
        // Marked before it is read: what is replaced meanwhile is seen as new at the next look.
        let read = tokio::task::spawn_blocking(move || (Marks::of_file(&file), config::pin(&file))).await;
        let (marks, read) =
            read.map_or_else(|gone| (None, Err(io::Error::other(gone))), |(marks, read)| (Some(marks), read));
        // One that cannot be read opens nothing, and what it opened before is over.
        let pin = read.as_ref().ok().and_then(Option::as_ref).map(|pin| blake3::hash(pin.as_bytes()));
        let mut book = self.book();
        if book.pin != pin || book.marks != marks {
            *book = Book { pin, marks, ..Book::default() };
        }
        read.map(|pin| pin.is_some())
    }

    /// Hears a PIN. Counted before anything is answered: tries at the same time are tries one after another.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub(super) fn hear(&self, pin: &str) -> io::Result<Said> {
        let now = self.clock.now().mono_us;
        let mut book = self.book();
        let Some(right) = book.pin else { return Ok(Said::NoPin) };
        if now < book.closed_until_us {
            return Ok(Said::Closed(seconds(book.closed_until_us - now)));
        }
        // Digests compare in constant time.
        if blake3::hash(pin.as_bytes()) != right {
            book.wrong += 1;
            if book.wrong < WRONG_MAX {
                return Ok(Said::Wrong(WRONG_MAX - book.wrong));
            }
            let closed = CLOSED_US.saturating_mul(1 << book.closings.min(8)).min(CLOSED_MAX_US);
            book.wrong = 0;
            book.closings += 1;
            book.closed_until_us = now + closed;
            return Ok(Said::Closing(seconds(closed)));
        }
        let secret = secret()?;
        (book.wrong, book.closings) = (0, 0);
        book.sessions.retain(|session| now < session.until_us);
        if book.sessions.len() >= SESSIONS_MAX {
            book.sessions.pop_front();
        }
        book.sessions.push_back(Session { key: blake3::hash(secret.as_bytes()), until_us: now + SESSION_US });
        Ok(Said::Open(secret))
    }

    /// How long the session of a secret still holds, in seconds; none when there is none.
    pub(super) fn holds(&self, secret: &str) -> Option<i64> {
        let (now, key) = (self.clock.now().mono_us, blake3::hash(secret.as_bytes()));
        let book = self.book();
        let session = book.sessions.iter().find(|session| session.key == key)?;
        Some(session.until_us - now).filter(|left| *left > 0).map(seconds)
    }

    /// Ends the session of a secret.
    pub(super) fn end(&self, secret: &str) {
        let key = blake3::hash(secret.as_bytes());
        self.book().sessions.retain(|session| session.key != key);
    }

    /// The book. Whoever panicked with it in hand left it whole: each change is one assignment or a counter.
    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Whole seconds, the begun one included.
const fn seconds(us: i64) -> i64 {
    us.saturating_add(999_999) / 1_000_000
}

/// 128 random bits in hexadecimal.
fn secret() -> io::Result<String> {
    let mut bytes = [0; 16];
    ring::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
