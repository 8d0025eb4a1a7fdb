//! What a connection does, counted where it happens, and the rules that tell from the counts when it has to end.
//!
//! The counts cost a relaxed store each; time is looked at by the watch alone, a few times within the shortest limit.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::Settings;

/// Counts of one connection.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Bytes read while no request was open: of the head that is to come, in HTTP/1.
    pub(super) head: AtomicU64,
    /// Bytes written.
    pub(super) written: AtomicU64,
    /// Whether the socket takes no more bytes.
    pub(super) write_pending: AtomicBool,
    /// Requests begun.
    pub(super) requests: AtomicU64,
    /// Requests whose answer has not been written to its end.
    pub(super) open: AtomicU32,
    /// HTTP/2: its silence is that no request is open, whatever else is sent.
    pub(super) is_http2: AtomicBool,
    /// The library refused a request; its answer has been replaced by ours.
    pub(super) refused: AtomicBool,
}

impl Activity {
    pub(super) fn begin(&self) {
        self.open.fetch_add(1, Relaxed);
        self.requests.fetch_add(1, Relaxed);
        self.head.store(0, Relaxed);
    }

    pub(super) fn end(&self) {
        self.open.fetch_sub(1, Relaxed);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.open.load(Relaxed) == 0
    }
}

/// Why a connection is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// No request for too long.
    Idle,
    /// A head that is not whole in time.
    SlowHead,
    /// The client takes nothing of its answer.
    WriteStall,
    /// The server stops.
    Drained,
    /// The server stops and does not wait any longer.
    Forced,
}

impl Ending {
    /// For logs and metrics.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::SlowHead => "slow-head",
            Self::WriteStall => "write-stall",
            Self::Drained => "drained",
            Self::Forced => "forced",
        }
    }
}

/// What the whole server asks of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// The limits of the settings.
    Usual,
    /// Connections wait for a descriptor: idle ones make room sooner.
    Short,
    /// The server stops: idle ones end.
    None,
}

/// [`Patience::Short`] divides the time of idle connections by this.
const SHORTER: u32 = 4;

/// Looks at an [`Activity`] at even intervals.
#[derive(Debug)]
pub(super) struct Watch {
    header: Duration,
    keep_alive: Duration,
    write_stall: Duration,
    requests: u64,
    written: u64,
    idle: Duration,
    head: Duration,
    stalled: Duration,
}

impl Watch {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            header: settings.header_timeout,
            keep_alive: settings.keep_alive_timeout,
            write_stall: settings.write_stall_timeout,
            requests: 0,
            written: 0,
            idle: Duration::ZERO,
            head: Duration::ZERO,
            stalled: Duration::ZERO,
        }
    }

    /// Time between two looks.
    pub(super) fn interval(&self) -> Duration {
        let shortest = self.header.min(self.keep_alive).min(self.write_stall);
        (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(5))
    }

    /// The connection did `now` in the `interval` since the last look.
    pub(super) fn look(&mut self, now: &Activity, interval: Duration, patience: Patience) -> Option<Ending> {
        let (requests, written) = (now.requests.load(Relaxed), now.written.load(Relaxed));
        let has_begun = std::mem::replace(&mut self.requests, requests) != requests;
        let has_written = std::mem::replace(&mut self.written, written) != written;
        let stalls = now.write_pending.load(Relaxed) && !has_written;
        self.stalled = if stalls { self.stalled + interval } else { Duration::ZERO };
        // [ENG-123] a client that takes nothing of what is written ends
        if self.stalled >= self.write_stall {
            return Some(Ending::WriteStall);
        }
        if !now.is_idle() || has_begun {
            (self.idle, self.head) = (Duration::ZERO, Duration::ZERO);
            return None;
        }
        if patience == Patience::None {
            return Some(Ending::Drained);
        }
        // [ENG-124] bytes of HTTP/2 that ask for nothing change nothing
        let in_head = now.head.load(Relaxed) > 0 && !now.is_http2.load(Relaxed);
        if in_head {
            (self.idle, self.head) = (Duration::ZERO, self.head + interval);
            return (self.head >= self.header).then_some(Ending::SlowHead);
        }
        (self.idle, self.head) = (self.idle + interval, Duration::ZERO);
        let limit = if requests == 0 { self.header } else { self.keep_alive };
        let limit = if patience == Patience::Short { limit / SHORTER } else { limit };
        (self.idle >= limit).then_some(Ending::Idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn watch() -> Watch {
        Watch {
            header: 3 * SECOND,
            keep_alive: 7 * SECOND,
            write_stall: 5 * SECOND,
            requests: 0,
            written: 0,
            idle: Duration::ZERO,
            head: Duration::ZERO,
            stalled: Duration::ZERO,
        }
    }

    /// Seconds until the watch ends a connection whose state `step` sets before each look.
    fn ends(watch: &mut Watch, activity: &Activity, step: impl Fn(&Activity)) -> Option<(u32, Ending)> {
        (1..=20).find_map(|second| {
            step(activity);
            watch.look(activity, SECOND, Patience::Usual).map(|ending| (second, ending))
        })
    }

    #[test]
    fn silence_ends_a_connection_before_its_first_head() {
        let found = ends(&mut watch(), &Activity::default(), |_| ());
        assert_eq!(found, Some((3, Ending::Idle)));
    }

    #[test]
    fn silence_ends_sooner_while_others_wait_for_room() {
        let (mut watch, activity) = (watch(), Activity::default());
        assert_eq!(watch.look(&activity, SECOND, Patience::Short), Some(Ending::Idle));
    }

    #[test]
    fn a_head_that_dribbles_ends() {
        let found = ends(&mut watch(), &Activity::default(), |a| {
            a.head.fetch_add(1, Relaxed);
        });
        assert_eq!(found, Some((3, Ending::SlowHead)));
    }

    #[test]
    fn http2_that_sends_and_asks_nothing_is_idle() {
        let activity = Activity::default();
        activity.is_http2.store(true, Relaxed);
        let pings = |a: &Activity| {
            a.head.fetch_add(17, Relaxed);
            a.written.fetch_add(17, Relaxed);
        };
        assert_eq!(ends(&mut watch(), &activity, pings), Some((3, Ending::Idle)));
        activity.begin();
        activity.end();
        let mut watch = watch();
        assert_eq!(watch.look(&activity, SECOND, Patience::Usual), None);
        assert_eq!(ends(&mut watch, &activity, pings), Some((7, Ending::Idle)));
    }

    #[test]
    fn an_open_request_is_not_idle_and_ends_when_its_answer_is_not_taken() {
        let (activity, mut watch) = (Activity::default(), watch());
        activity.begin();
        assert_eq!(ends(&mut watch, &activity, |_| ()), None);
        activity.write_pending.store(true, Relaxed);
        let slow = |a: &Activity| {
            a.written.fetch_add(1, Relaxed);
        };
        assert_eq!(ends(&mut watch, &activity, slow), None, "slow is not stalled");
        assert_eq!(ends(&mut watch, &activity, |_| ()), Some((5, Ending::WriteStall)));
    }

    #[test]
    fn a_stop_ends_what_is_idle_at_once_and_nothing_else() {
        let (activity, mut watch) = (Activity::default(), watch());
        activity.begin();
        assert_eq!(watch.look(&activity, Duration::ZERO, Patience::None), None);
        activity.end();
        assert_eq!(watch.look(&activity, Duration::ZERO, Patience::None), Some(Ending::Drained));
    }
}
