//! Log lines about what a client can repeat at will: one in ten seconds, with the number of those left out.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

const BETWEEN: Duration = Duration::from_secs(10);

/// Says whether a line may be written now.
#[derive(Debug, Default)]
pub(super) struct Sometimes(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    left_out: u64,
}

impl Sometimes {
    /// The number of lines left out since the last one; `None` to leave this one out as well.
    pub(super) fn may_say(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if state.last.is_some_and(|last| now.saturating_duration_since(last) < BETWEEN) {
            state.left_out += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_left_out_and_counted() {
        let (lines, now) = (Sometimes::default(), Instant::now());
        assert_eq!(lines.may_say(now), Some(0));
        assert_eq!(lines.may_say(now), None);
        assert_eq!(lines.may_say(now + BETWEEN / 2), None);
        assert_eq!(lines.may_say(now + BETWEEN), Some(2));
        assert_eq!(lines.may_say(now + BETWEEN * 3), Some(0));
    }
}
