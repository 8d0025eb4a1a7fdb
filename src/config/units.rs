//! Sizes and durations as people write them.

use std::{fmt, str::FromStr, time::Duration};

use super::setting::{Raw, Setting, quoted};

/// A number of bytes, written `"64 MiB"`, `"1.5 GB"`, `"512"` or as a bare number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

/// Largest first, so that the first that divides is the one to print; binary before decimal of its rank.
const SIZE_UNITS: [(&str, u64); 11] = [
    ("PiB", 1 << 50),
    ("PB", 1_000_000_000_000_000),
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

impl Size {
    /// So many bytes.
    #[must_use]
    pub const fn of(bytes: u64) -> Self {
        Self(bytes)
    }

    pub(super) const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    pub(super) const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    pub(super) const fn gib(n: u64) -> Self {
        Self(n << 30)
    }

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The size in bytes, or the largest number that this platform can count in memory.
    #[must_use]
    pub fn in_memory(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// Exact: what is printed reads back as the same number.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = SIZE_UNITS.iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        match exact {
            Some((unit, factor)) => write!(f, "{} {unit}", self.0 / factor),
            None => write!(f, "{} B", self.0),
        }
    }
}

/// The error says what is wrong with the text.
impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("the size is empty".to_owned());
        }
        if text.starts_with('-') {
            return Err(format!("{text:?} is negative"));
        }
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let unit = unit.trim_start();
        if number.is_empty() {
            return Err(format!("{text:?} does not start with a number"));
        }
        let factor = match SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) {
            Some((_, factor)) => *factor,
            None if unit.is_empty() => 1,
            None => return Err(format!("{unit:?} is no unit of size")),
        };
        scaled(number, factor)
            .ok_or_else(|| format!("{text:?} is no whole number of bytes below 2^64"))
            .map(Self)
    }
}

/// `number` (decimal, perhaps with a fraction) times `factor`, if that is a whole number that fits.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let parts = u128::from(whole.parse::<u64>().ok()?).checked_mul(u128::from(factor))?;
    let denominator = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let numerator = u128::from(fraction.parse::<u64>().ok()?).checked_mul(u128::from(factor))?;
    if !numerator.is_multiple_of(denominator) {
        return None;
    }
    u64::try_from(parts.checked_add(numerator / denominator)?).ok()
}

impl Setting for Size {
    const ACCEPTS: &'static str = "a size such as \"64 MiB\", \"1.5 GB\" or 1048576 (units: B; kB, MB, GB, TB, PB of 1000; KiB, MiB, GiB, TiB, PiB of 1024)";

    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Integer(n) => u64::try_from(*n).map(Self).map_err(|_| format!("{n} is negative")),
            Raw::Text(text) | Raw::Env(text) => text.parse(),
            Raw::Bool(_) | Raw::List(_) | Raw::Other(_) => Err(format!("a {} is no size", raw.kind())),
        }
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}

/// A length of time in whole milliseconds, written `"60s"`, `"72h"`, `"250ms"`, `"3 days"` or `"1h 30m"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(Duration);

const PERIOD_UNITS: [(&str, u128); 5] =
    [(" days", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Period {
    /// No time at all: keys that say so take it as "off".
    pub const ZERO: Self = Self(Duration::ZERO);

    /// So many milliseconds.
    #[must_use]
    pub const fn millis(n: u64) -> Self {
        Self(Duration::from_millis(n))
    }

    /// So many seconds.
    #[must_use]
    pub const fn secs(n: u64) -> Self {
        Self(Duration::from_secs(n))
    }

    pub(super) const fn hours(n: u64) -> Self {
        Self(Duration::from_secs(n * 3600))
    }

    /// The same length for the standard library.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// True for a key that is switched off.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

/// Exact, in the largest unit that divides the length; a single day is 24 hours.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        if ms == 0 {
            return f.write_str("0s");
        }
        let exact = PERIOD_UNITS
            .iter()
            .find(|(unit, factor)| ms.is_multiple_of(*factor) && (ms > *factor || *unit != " days"));
        exact.map_or(Ok(()), |(unit, factor)| write!(f, "{}{unit}", ms / factor))
    }
}

/// The error says what is wrong with the text.
impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("the duration is empty".to_owned());
        }
        if text.starts_with('-') {
            return Err(format!("{text:?} is negative"));
        }
        let span =
            humantime::parse_duration(text).map_err(|wrong| format!("{text:?} is no duration: {wrong}"))?;
        if !span.subsec_nanos().is_multiple_of(1_000_000) {
            return Err(format!("{text:?} is finer than a millisecond"));
        }
        if span > LONGEST {
            return Err(format!("{text:?} is longer than 100 years"));
        }
        Ok(Self(span))
    }
}

/// Far above any use, far below what would overflow a timestamp.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 86_400);

impl Setting for Period {
    const ACCEPTS: &'static str =
        "a duration such as \"250ms\", \"60s\", \"5m\", \"72h\", \"3 days\" or \"1h 30m\"";

    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Text(text) | Raw::Env(text) => text.parse(),
            Raw::Integer(n) => Err(format!("{n} has no unit: write \"{n}s\" for seconds")),
            Raw::Bool(_) | Raw::List(_) | Raw::Other(_) => Err(format!("a {} is no duration", raw.kind())),
        }
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_in_binary_and_decimal_units() {
        for (text, bytes) in [
            ("512", 512),
            ("512 B", 512),
            ("0", 0),
            ("1 GiB", 1 << 30),
            ("1GiB", 1 << 30),
            (" 64 mib ", 64 << 20),
            ("1.5 GB", 1_500_000_000),
            ("1.5KiB", 1536),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(Size::of(bytes)), "{text}");
        }
    }

    #[test]
    fn wrong_sizes_are_refused_with_a_reason() {
        for (text, reason) in [
            ("", "empty"),
            ("   ", "empty"),
            ("-1 GiB", "negative"),
            ("GiB", "does not start with a number"),
            ("1 M", "no unit"),
            ("1 GiB GiB", "no unit"),
            ("1e9", "no unit"),
            (".", "no whole number"),
            ("1.", "no whole number"),
            ("1.2.3 MB", "no whole number"),
            ("0.5", "no whole number"),
            ("18446744073709551616", "2^64"),
            ("99999999 PiB", "2^64"),
            ("1.00000000000000000000000000000000000000001 GiB", "no whole number"),
            ("\u{661} MB", "does not start"),
        ] {
            let wrong = text.parse::<Size>().unwrap_err();
            assert!(wrong.contains(reason), "{text:?}: {wrong}");
        }
    }

    #[test]
    fn sizes_are_printed_in_the_largest_exact_unit() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1 kB"),
            (1024, "1 KiB"),
            (1 << 30, "1 GiB"),
            (3 << 29, "1536 MiB"),
            (5_000_000, "5 MB"),
            ((1 << 30) + 1, "1073741825 B"),
        ] {
            assert_eq!(Size::of(bytes).to_string(), text);
        }
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, ms) in [
            ("60s", 60_000),
            ("72h", 72 * 3_600_000),
            ("250ms", 250),
            ("3 days", 3 * 86_400_000),
            ("1h 30m", 5_400_000),
            ("1 hour", 3_600_000),
            ("0s", 0),
        ] {
            assert_eq!(text.parse(), Ok(Period::millis(ms)), "{text}");
        }
    }

    #[test]
    fn wrong_durations_are_refused_with_a_reason() {
        for (text, reason) in [
            ("", "empty"),
            ("-5s", "negative"),
            ("60", "unit"),
            ("s", "no duration"),
            ("5 lightyears", "unit"),
            ("10us", "millisecond"),
            ("9999999999999 years", "no duration"),
            ("101 years", "100 years"),
        ] {
            let wrong = text.parse::<Period>().unwrap_err();
            assert!(wrong.contains(reason), "{text:?}: {wrong}");
        }
    }

    #[test]
    fn durations_are_printed_in_the_largest_exact_unit() {
        for (ms, text) in [
            (0, "0s"),
            (1, "1ms"),
            (1_500, "1500ms"),
            (1_000, "1s"),
            (60_000, "1m"),
            (3_600_000, "1h"),
            (86_400_000, "24h"),
            (3 * 86_400_000, "3 days"),
        ] {
            assert_eq!(Period::millis(ms).to_string(), text);
        }
    }

    #[test]
    fn a_bare_number_is_no_duration_but_a_size() {
        assert!(Period::read(&Raw::Integer(60)).unwrap_err().contains("\"60s\""));
        assert_eq!(Size::read(&Raw::Integer(60)), Ok(Size::of(60)));
        assert!(Size::read(&Raw::Integer(-1)).unwrap_err().contains("negative"));
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(bytes: u64, ms in 0..LONGEST.as_secs() * 1000) {
            prop_assert_eq!(Size::of(bytes).to_string().parse(), Ok(Size::of(bytes)));
            prop_assert_eq!(Period::millis(ms).to_string().parse(), Ok(Period::millis(ms)));
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text: String) {
            let _ = text.parse::<Size>();
            let _ = text.parse::<Period>();
        }
    }
}
