//! Waiting that keeps its promises: every wait is taken in steps of a beat, and wakes the light's alarms.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::FLUSH_AT_STOP;
use crate::health::{Beat, Light, PARKED_MAX, wedge};

/// How a task of this room waits. Only the worker itself has a beat; the connections of a listener have none.
#[derive(Clone)]
pub(super) struct Pulse {
    pub beat: Option<Beat>,
    pub light: Light,
    pub stop: CancellationToken,
}

impl Pulse {
    /// The same waits without a beat: for a task beside the worker.
    pub fn without_beat(&self) -> Self {
        Self { beat: None, ..self.clone() }
    }

    /// "I have something to do." In debug builds also where the test hook strikes, an endless await included.
    pub async fn working(&self) {
        if let Some(beat) = &self.beat {
            wedge::hang(beat.worker()).await;
            beat.working(PARKED_MAX);
        }
    }

    /// Waits for `wanted`, at most for `limit`; none when that has passed. Losing it loses what `wanted` loses.
    pub async fn wait<F: Future>(&self, wanted: F, limit: Option<Duration>) -> Option<F::Output> {
        let mut wanted = pin!(wanted);
        let end = limit.map(|limit| Instant::now() + limit);
        loop {
            let mut step = PARKED_MAX;
            if let Some(beat) = &self.beat {
                step = step.min(self.light.tick().unwrap_or(step));
                step = beat.parked(step);
            }
            if let Some(end) = end {
                step = step.min(end.saturating_duration_since(Instant::now()));
            }
            // A step is a millisecond at least: the alarm clock counts finer than the timer.
            if let Ok(got) = timeout(step.max(Duration::from_millis(1)), wanted.as_mut()).await {
                return Some(got);
            }
            if end.is_some_and(|end| end <= Instant::now()) {
                return None;
            }
        }
    }

    /// Does nothing for `rest`, less when a stop comes.
    pub async fn rest(&self, rest: Duration) {
        if !rest.is_zero() {
            self.wait(self.stop.cancelled(), Some(rest)).await;
        }
    }

    /// Returns when a stop has lasted so long that waiting for others is over.
    pub async fn stopped_for_good(&self) {
        self.stop.cancelled().await;
        sleep(FLUSH_AT_STOP).await;
    }
}

/// Awaits `wanted` and says whether it had to wait.
pub async fn or_wait<F: Future>(wanted: F) -> (F::Output, bool) {
    let mut wanted = pin!(wanted);
    let mut waited = false;
    let got = std::future::poll_fn(|cx| {
        let poll = wanted.as_mut().poll(cx);
        waited |= poll.is_pending();
        poll
    })
    .await;
    (got, waited)
}
