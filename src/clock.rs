//! Time as an argument: the one place that reads the wall clock.
//!
//! Rules take a [`Timestamp`]; the parts that need "now" hold a [`Clock`]. `clippy.toml` bans
//! `SystemTime::now` everywhere else, so a test that sets a [`ManualClock`] has set all the time there is.

use std::{
    fmt,
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, UTC. Negative values lie before 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// The last second that both HTTP-date and RFC 3339 can write with a year of four digits.
const LAST_WRITABLE_MS: i64 = 253_402_300_799_999;

impl Timestamp {
    /// This moment moved into the future; stops at the end of the range instead of wrapping.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }

    /// This moment moved into the past; stops at the end of the range instead of wrapping.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(millis(by)))
    }

    /// The time that has passed since `earlier`; zero when `earlier` is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The same moment for the standard library; the epoch when the platform cannot hold it.
    #[must_use]
    pub fn to_system(self) -> SystemTime {
        let distance = Duration::from_millis(self.0.unsigned_abs());
        let system =
            if self.0 < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
        system.unwrap_or(UNIX_EPOCH)
    }

    /// The moment of a [`SystemTime`] (a file's modification time, a parsed HTTP-date), cut to milliseconds.
    #[must_use]
    pub fn from_system(system: SystemTime) -> Self {
        match system.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(millis(after)),
            Err(before) => Self(-millis(before.duration())),
        }
    }

    /// IMF-fixdate of RFC 9110 section 5.6.7, as `Last-Modified` and `Expires` want it. Moments that the
    /// format cannot hold are moved to its nearest end.
    #[must_use]
    pub fn http_date(self) -> String {
        httpdate::fmt_http_date(self.writable().to_system())
    }

    fn writable(self) -> Self {
        Self(self.0.clamp(0, LAST_WRITABLE_MS))
    }
}

/// RFC 3339 with milliseconds, e.g. `2023-11-21T23:20:00.000Z`; moments outside of the years 1970 to 9999
/// are moved to the nearest end.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_millis(self.writable().to_system()).fmt(f)
    }
}

fn millis(d: Duration) -> i64 {
    i64::try_from(d.as_millis()).unwrap_or(i64::MAX)
}

/// Where "now" comes from.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The current moment. May step back when an administrator sets the machine's clock.
    fn now(&self) -> Timestamp;
}

/// The machine's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[allow(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
        let system = SystemTime::now();
        Timestamp::from_system(system)
    }
}

/// A clock that stands still until it is told otherwise.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `at`.
    #[must_use]
    pub fn new(at: Timestamp) -> Self {
        Self(AtomicI64::new(at.0))
    }

    /// Show `at` from now on, earlier or later.
    pub fn set(&self, at: Timestamp) {
        self.0.store(at.0, Ordering::SeqCst);
    }

    /// Let `by` pass.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(millis(by), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_zero_when_the_clock_stepped_back() {
        assert_eq!(Timestamp(1_000).since(Timestamp(5_000)), Duration::ZERO);
        assert_eq!(Timestamp(5_000).since(Timestamp(1_000)), Duration::from_secs(4));
        assert_eq!(Timestamp(i64::MIN).since(Timestamp(i64::MAX)), Duration::ZERO);
    }

    #[test]
    fn plus_stops_at_the_end_of_the_range() {
        assert_eq!(Timestamp(1).plus(Duration::from_millis(2)), Timestamp(3));
        assert_eq!(Timestamp(1).plus(Duration::MAX), Timestamp(i64::MAX));
    }

    #[test]
    fn http_date_and_rfc3339_write_the_same_moment() {
        let t = Timestamp(1_700_604_800_250);
        assert_eq!(t.http_date(), "Tue, 21 Nov 2023 22:13:20 GMT");
        assert_eq!(t.to_string(), "2023-11-21T22:13:20.250Z");
    }

    #[test]
    fn moments_outside_of_the_formats_are_moved_to_their_ends() {
        assert_eq!(Timestamp(-1).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp(i64::MIN).http_date(), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(Timestamp(i64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
        assert_eq!(Timestamp(i64::MAX).http_date(), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn system_time_survives_the_round_trip() {
        for ms in [-86_400_001, -1, 0, 1, 1_700_000_000_123] {
            assert_eq!(Timestamp::from_system(Timestamp(ms).to_system()), Timestamp(ms));
        }
    }

    #[test]
    fn manual_clock_moves_only_when_told() {
        let clock = ManualClock::new(Timestamp(10));
        assert_eq!(clock.now(), Timestamp(10));
        clock.advance(Duration::from_millis(5));
        assert_eq!(clock.now(), Timestamp(15));
        clock.set(Timestamp(3));
        assert_eq!(clock.now(), Timestamp(3));
    }

    #[test]
    fn system_clock_shows_this_century() {
        assert!(SystemClock.now() > Timestamp(1_600_000_000_000));
    }

    #[test]
    fn serialises_as_a_bare_number() {
        assert_eq!(serde_json::to_string(&Timestamp(42)).unwrap(), "42");
    }
}
