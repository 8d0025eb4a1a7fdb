//! The room on a disk, and who has been promised how much of it.
//!
//! ```text
//!   room = free (statvfs, at the last look) - reserve - used since that look - promised and not used yet
//! ```
//!
//! Every writer claims bytes before it writes them, so that neither one fast body nor many together pass the reserve
//! between two looks at the disk. What was used is counted until the next look only: from then on statvfs counts it.
//! A claim moves from promised to used after the write, so that a look in between counts bytes twice rather than not
//! at all. Rejected: a look for each piece; 20,000 a second for one fast body.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long a look at the disk is believed, while what is asked for fits.
const MAX_AGE: Duration = Duration::from_millis(500);

/// The log says at most so often that there is too little room.
const WARN_EVERY: Duration = Duration::from_secs(60);

type Look = Box<dyn Fn() -> io::Result<u64> + Send + Sync>;

/// The book of promised bytes of one store.
pub struct SpaceBook {
    /// Free bytes that stay untouched.
    reserve: u64,
    look: Look,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Free bytes at the last look; `None` where it failed, and nothing is enforced.
    free: Option<u64>,
    looked: Option<Instant>,
    /// Bytes written or allocated since the last look.
    used: u64,
    /// Bytes that writers may still write without asking again.
    promised: u64,
    /// When the log last said that there is too little room.
    warned: Option<Instant>,
}

impl std::fmt::Debug for SpaceBook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpaceBook").field("reserve", &self.reserve).finish_non_exhaustive()
    }
}

impl SpaceBook {
    /// A book of a disk whose free bytes `look` tells.
    pub fn new(reserve: u64, look: impl Fn() -> io::Result<u64> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { reserve, look: Box::new(look), counts: Mutex::default() })
    }

    /// Bytes that may still be promised; `None` when the disk does not tell.
    pub fn room(&self) -> Option<u64> {
        self.with(|counts| {
            self.refresh(counts, MAX_AGE);
            self.left(counts)
        })
    }

    /// A claim of nothing yet, to be added to.
    pub fn open(self: &Arc<Self>) -> Claim {
        Claim { book: Arc::clone(self), bytes: 0 }
    }

    /// A claim of all of these bytes; `None` when there is no room for them.
    pub fn claim(self: &Arc<Self>, bytes: u64) -> Option<Claim> {
        let mut claim = self.open();
        (claim.add(bytes) == bytes).then_some(claim)
    }

    /// Whether others have eaten an eighth of the reserve, by a look at the disk that is no older than 500 ms. A little
    /// of it goes to the ledger and to the file system itself.
    pub fn is_overdrawn(&self) -> bool {
        self.with(|counts| {
            self.refresh(counts, MAX_AGE);
            counts.free.is_some_and(|free| free.saturating_sub(counts.used) < self.reserve - self.reserve / 8)
        })
    }

    /// Promise up to `most` bytes; returns how many.
    fn promise(&self, most: u64) -> u64 {
        self.with(|counts| {
            self.refresh(counts, MAX_AGE);
            if self.left(counts).is_some_and(|left| left < most) {
                self.refresh(counts, Duration::ZERO);
            }
            let granted = self.left(counts).map_or(most, |left| left.min(most));
            counts.promised = counts.promised.saturating_add(granted);
            if granted < most && counts.warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
                counts.warned = Some(Instant::now());
                tracing::warn!(
                    free = counts.free,
                    reserve = self.reserve,
                    "the disk has too little room beyond [store] reserve: what does not fit is refused; to do: free \
                     space, or lower the reserve"
                );
            }
            granted
        })
    }

    fn left(&self, counts: &Counts) -> Option<u64> {
        let taken = self.reserve.saturating_add(counts.used).saturating_add(counts.promised);
        counts.free.map(|free| free.saturating_sub(taken))
    }

    fn refresh(&self, counts: &mut Counts, max_age: Duration) {
        if counts.looked.is_some_and(|looked| looked.elapsed() < max_age) {
            return;
        }
        counts.looked = Some(Instant::now());
        match (self.look)() {
            Ok(free) => {
                counts.free = Some(free);
                counts.used = 0;
            }
            Err(cause) => {
                tracing::warn!(%cause, "cannot read the disk's free space; the reserve is not enforced");
                counts.free = None;
            }
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Counts) -> T) -> T {
        work(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Bytes that one writer may write. What is left of it is given back when it is dropped.
#[derive(Debug)]
pub struct Claim {
    book: Arc<SpaceBook>,
    bytes: u64,
}

impl Claim {
    /// Claim up to `most` further bytes; returns how many there was room for.
    pub fn add(&mut self, most: u64) -> u64 {
        let granted = if most == 0 { 0 } else { self.book.promise(most) };
        self.bytes = self.bytes.saturating_add(granted);
        granted
    }

    /// Note that these bytes of it lie on the disk now.
    pub fn spend(&mut self, bytes: u64) {
        let spent = bytes.min(self.bytes);
        if spent == 0 {
            return;
        }
        self.bytes -= spent;
        self.book.with(|counts| {
            counts.promised = counts.promised.saturating_sub(spent);
            counts.used = counts.used.saturating_add(spent);
        });
    }

    /// Give back what is more than these bytes.
    pub fn keep(&mut self, bytes: u64) {
        let back = self.bytes.saturating_sub(bytes);
        if back > 0 {
            self.bytes -= back;
            self.book.with(|counts| counts.promised = counts.promised.saturating_sub(back));
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.keep(0);
    }
}

/// Room that is promised to one concatenation.
#[derive(Debug, Default)]
pub struct Booking(Option<Claim>);

impl Booking {
    pub(super) fn of(claim: Claim) -> Self {
        Self(Some(claim))
    }

    /// The claim; `None` where a store has no end.
    pub(super) fn into_claim(self) -> Option<Claim> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn book(free: u64, reserve: u64) -> (Arc<SpaceBook>, Arc<AtomicU64>) {
        let disk = Arc::new(AtomicU64::new(free));
        let seen = Arc::clone(&disk);
        (SpaceBook::new(reserve, move || Ok(seen.load(Ordering::Relaxed))), disk)
    }

    #[test]
    fn a_reserve_that_others_ate_into_shows() {
        let (book, disk) = book(1_000, 300);
        let mut claim = book.claim(700).unwrap();
        claim.spend(700);
        assert!(!book.is_overdrawn());
        disk.store(200, Ordering::Relaxed);
        assert!(book.claim(1).is_none());
        assert!(book.is_overdrawn());
    }

    // [ENG-60]
    #[test]
    fn writers_together_are_promised_no_more_than_the_room() {
        let (book, disk) = book(1_000, 300);
        let mut one = book.claim(400).unwrap();
        let mut two = book.open();
        assert_eq!(two.add(500), 300);
        assert_eq!((two.add(1), book.room()), (0, Some(0)));
        // A look at the disk may come in between, and sees what was written.
        disk.store(600, Ordering::Relaxed);
        one.spend(400);
        disk.store(600, Ordering::Relaxed);
        assert_eq!((two.add(1), book.room()), (0, Some(0)), "what was written is counted once");
        assert!(book.claim(1).is_none());
    }

    #[test]
    fn what_was_written_is_counted_once_after_a_look() {
        let (book, disk) = book(1_000, 0);
        let mut claim = book.claim(600).unwrap();
        claim.spend(600);
        disk.store(400, Ordering::Relaxed);
        // More than is left by the old count makes it look again.
        assert!(book.claim(401).is_none());
        assert_eq!(book.room(), Some(400));
        assert!(book.claim(400).is_some());
    }

    #[test]
    fn what_is_given_back_or_freed_can_be_claimed_again() {
        let (book, disk) = book(1_000, 0);
        let mut claim = book.claim(1_000).unwrap();
        claim.keep(100);
        assert_eq!(book.room(), Some(900));
        drop(claim);
        assert_eq!(book.room(), Some(1_000));
        disk.store(5_000, Ordering::Relaxed);
        assert!(book.claim(5_000).is_some(), "a claim that does not fit looks at the disk");
    }

    #[test]
    fn a_disk_that_does_not_tell_its_free_space_refuses_nothing() {
        let book = SpaceBook::new(u64::MAX, || Err(io::ErrorKind::Unsupported.into()));
        assert_eq!(book.room(), None);
        assert!(book.claim(u64::MAX).is_some());
    }
}
