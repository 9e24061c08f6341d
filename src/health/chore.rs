//! The node's own chores that take a while: none runs beside itself, and each shows on the board how far it is.

use serde::Serialize;

use super::{Board, State};
use crate::clock::Clock;
use crate::domain::UnixMs;

/// A chore that runs now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChoreState {
    /// Its name, one of the constants below.
    pub job: &'static str,
    /// `running`: one that is over leaves the board.
    pub state: &'static str,
    /// Since when, UTC ms.
    pub since_ms: UnixMs,
    /// What is done of it, in its own unit.
    pub done: u64,
    /// Of how much; none as long as nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

/// Old events leave the log. Unit: events.
pub const RETENTION: &str = "retention";
/// The store's pages and indexes are checked. Unit: tables.
pub const INTEGRITY: &str = "integrity";
/// The places are told anew. Unit: events.
pub const REBUILD: &str = "rebuild";

/// Somebody does it already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("already_running: {job} is at work; wait for its end, `waypost status` shows how far it is")]
pub struct AlreadyRunning {
    /// What is at work.
    pub job: &'static str,
}

/// A chore in hand. Dropped, it is over: also after an error, a panic or an abort of who did it.
#[derive(Debug)]
pub struct Chore {
    board: Board,
    job: &'static str,
    since_ms: UnixMs,
}

impl Board {
    /// Begins a chore. The board is where it stands, so that who looks and who asks see the same.
    ///
    /// # Errors
    /// It is begun already and not over.
    pub fn begin(&self, job: &'static str, clock: &Clock) -> Result<Chore, AlreadyRunning> {
        let since_ms = clock.now().wall_ms;
        if self.post_new(State::Chore(ChoreState { job, state: "running", since_ms, done: 0, total: None })) {
            Ok(Chore { board: self.clone(), job, since_ms })
        } else {
            Err(AlreadyRunning { job })
        }
    }
}

impl Chore {
    /// Says how far it is: so much is done, of so much.
    pub fn at(&self, done: u64, total: Option<u64>) {
        let Self { job, since_ms, .. } = *self;
        self.board.post(State::Chore(ChoreState { job, state: "running", since_ms, done, total }));
    }
}

impl Drop for Chore {
    fn drop(&mut self) {
        self.board.remove("job", self.job);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chore_never_runs_beside_itself_and_is_free_again_however_it_ended() {
        let (board, clock) = (Board::default(), Clock::system());
        let first = board.begin(RETENTION, &clock).unwrap();
        first.at(7, Some(10));
        assert_eq!(board.begin(RETENTION, &clock).unwrap_err(), AlreadyRunning { job: RETENTION });
        assert!(
            matches!(board.get("job", RETENTION), Some(State::Chore(at)) if (at.done, at.total) == (7, Some(10))),
            "who was refused changed nothing"
        );
        let other = board.begin(INTEGRITY, &clock).unwrap();
        drop((first, other));
        let thread = std::thread::spawn({
            let (board, clock) = (board.clone(), clock.clone());
            move || {
                let _chore = board.begin(RETENTION, &clock).unwrap();
                panic!("on purpose");
            }
        });
        assert!(thread.join().is_err());
        assert!(board.get("job", RETENTION).is_none());
        board.begin(RETENTION, &clock).unwrap();
    }
}
