//! The repeat window: one read of a code stands for those that follow it closely.

use std::collections::{HashMap, VecDeque};

/// What ends the window of a code before its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RepeatScope {
    /// Any other code: A B A is three events.
    #[default]
    Previous,
    /// Nothing: each code has a window of its own.
    Code,
}

/// The codes that are remembered at once; more than a portal of RFID readers sees within a second.
const CODES_MAX: usize = 4096;

/// The windows of one source.
#[derive(Clone, Debug)]
pub struct RepeatWindow {
    length_us: i64,
    scope: RepeatScope,
    /// Accepted codes with the time of acceptance, oldest first.
    order: VecDeque<(i64, String)>,
    /// Repeats by code; holds exactly the codes of `order`.
    repeats: HashMap<String, u64>,
}

impl RepeatWindow {
    /// A window of `length_ms` from the accepted read; 0 or less: every read is accepted.
    #[must_use]
    pub fn new(length_ms: i64, scope: RepeatScope) -> Self {
        Self { length_us: length_ms.saturating_mul(1000), scope, order: VecDeque::new(), repeats: HashMap::new() }
    }

    /// Whether the read of `code` at `mono_us` repeats an accepted one: its number among the repeats, from 1; none: it is accepted.
    pub fn repeats(&mut self, code: &str, mono_us: i64) -> Option<u64> {
        if self.length_us <= 0 {
            return None;
        }
        while self.order.front().is_some_and(|(since, _)| mono_us.saturating_sub(*since) > self.length_us) {
            self.forget_oldest();
        }
        if let Some(count) = self.repeats.get_mut(code) {
            *count += 1;
            return Some(*count);
        }
        match self.scope {
            RepeatScope::Previous => {
                self.order.clear();
                self.repeats.clear();
            }
            // Forgetting early makes an event too many, never one too few.
            RepeatScope::Code if self.order.len() >= CODES_MAX => self.forget_oldest(),
            RepeatScope::Code => {}
        }
        self.order.push_back((mono_us, code.to_owned()));
        self.repeats.insert(code.to_owned(), 0);
        None
    }

    fn forget_oldest(&mut self) {
        if let Some((_, code)) = self.order.pop_front() {
            self.repeats.remove(&code);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(scope: RepeatScope, reads: &[(i64, &str, Option<u64>)]) {
        let mut window = RepeatWindow::new(1000, scope);
        for (ms, code, expect) in reads {
            assert_eq!(window.repeats(code, ms * 1000), *expect, "{code} at {ms} ms, {scope:?}");
        }
    }

    #[test]
    fn the_window_runs_from_the_accepted_read() {
        check(
            RepeatScope::Previous,
            &[
                (0, "A", None),
                (600, "A", Some(1)),
                (1000, "A", Some(2)),
                (1001, "A", None),
                (2001, "A", Some(1)),
                (2002, "A", None),
            ],
        );
    }

    #[test]
    fn another_code_ends_the_window_only_in_scope_previous() {
        check(RepeatScope::Previous, &[(0, "A", None), (1, "B", None), (2, "A", None), (3, "A", Some(1))]);
        check(
            RepeatScope::Code,
            &[(0, "A", None), (1, "B", None), (2, "A", Some(1)), (3, "B", Some(1)), (1001, "A", None)],
        );
    }

    #[test]
    fn the_memory_for_codes_is_bounded() {
        let mut window = RepeatWindow::new(1000, RepeatScope::Code);
        for code in 0..CODES_MAX + 10 {
            assert_eq!(window.repeats(&code.to_string(), 0), None);
        }
        assert_eq!((window.order.len(), window.repeats.len()), (CODES_MAX, CODES_MAX));
        assert_eq!(window.repeats("0", 0), None);
        assert_eq!(RepeatWindow::new(0, RepeatScope::Code).repeats("A", 0), None);
    }
}
