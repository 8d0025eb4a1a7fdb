//! Room that is kept for the moment when the disk is full: a file beside the ledger that is removed then, so that what
//! frees room, and nothing else, can still be committed. A small remainder of it stays for the next start, which must make
//! SQLite's -shm before anything can be read.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::{fault::Fault, private};

/// Time between two attempts to have it again.
const RETRY_EVERY: Duration = Duration::from_millis(250);
/// Bytes that stay when the rest is given back, as many as can be had.
const REMAINDERS: [u64; 4] = [256 * 1024, 128 * 1024, 64 * 1024, 32 * 1024];
/// Bytes of one write where a file system cannot allocate.
const PIECE: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
    /// Bytes; 0 for none.
    size: u64,
    next_try: Instant,
}

impl Ballast {
    /// None on a disk that is too small for it: it would never come back, and everything be refused for ever.
    pub(super) fn new(path: PathBuf, size: u64) -> Self {
        let disk = rustix::fs::statvfs(private::parent(&path))
            .map_or(u64::MAX, |disk| disk.f_blocks.saturating_mul(disk.f_frsize));
        let is_possible = disk >= size.saturating_mul(4);
        if !is_possible {
            tracing::warn!(
                "the ledger's disk is too small for a ballast: when it is full nothing can be deleted"
            );
        }
        Self { path, size: if is_possible { size } else { 0 }, next_try: Instant::now() }
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.size > 0
    }

    /// Give its room back, but for the remainder.
    pub(super) fn release(&mut self) {
        self.next_try = Instant::now() + RETRY_EVERY;
        self.shrink();
    }

    /// Give all of its room back; whether there was any.
    pub(super) fn release_all(&mut self) -> bool {
        self.next_try = Instant::now() + RETRY_EVERY;
        match fs::remove_file(&self.path) {
            Ok(()) => true,
            Err(e) if e.kind() == io::ErrorKind::NotFound => false,
            Err(cause) => {
                tracing::error!(%cause, file = %self.path.display(), "the ledger's ballast cannot be removed");
                false
            }
        }
    }

    /// Have as much of the remainder as there is room for.
    pub(super) fn make_remainder(&self) {
        if self.is_wanted() {
            let _ = REMAINDERS.iter().find(|size| self.allocate(**size).is_ok());
        }
    }

    fn shrink(&self) {
        let [remainder, ..] = REMAINDERS;
        let shrunk = fs::File::options().write(true).open(&self.path).and_then(|file| {
            if file.metadata()?.len() > remainder { file.set_len(remainder) } else { Ok(()) }
        });
        match shrunk {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                tracing::error!(%cause, file = %self.path.display(), "the ledger's ballast cannot be made smaller");
            }
            _ => {}
        }
    }

    /// [`Ballast::make`], but not again and again.
    pub(super) fn make_now_and_then(&mut self) -> bool {
        if Instant::now() < self.next_try {
            return false;
        }
        self.next_try = Instant::now() + RETRY_EVERY;
        self.make()
    }

    /// Have it; `false` while that would leave less room than it takes.
    pub(super) fn make(&self) -> bool {
        if self.is_there() {
            return true;
        }
        let free = rustix::fs::statvfs(private::parent(&self.path))
            .map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        if free < self.size.saturating_mul(2) {
            return false;
        }
        match self.allocate(self.size) {
            Ok(()) => true,
            Err(cause) => {
                self.shrink();
                tracing::warn!(%cause, file = %self.path.display(), "the ledger's ballast cannot be made");
                false
            }
        }
    }

    /// Whether the disk refuses some pages for want of room: tried, since a quota shows nowhere else.
    pub(super) fn lacks_room(&self) -> bool {
        let mut trial = self.path.as_os_str().to_owned();
        trial.push(".trial");
        let tried = private::open_file(trial.as_ref()).and_then(|mut file| {
            file.write_all(&vec![0; PIECE])?;
            file.sync_all()
        });
        let _ = fs::remove_file(&trial);
        tried.is_err_and(|e| Fault::io("trying whether there is room", &e).full)
    }

    /// Whether it is there, or none is wanted. A file with holes holds no room.
    fn is_there(&self) -> bool {
        let holds = |found: fs::Metadata| found.len().min(found.blocks().saturating_mul(512)) >= self.size;
        self.size == 0 || fs::metadata(&self.path).is_ok_and(holds)
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        let mut file = private::open_file(&self.path)?;
        match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size) {
            Ok(()) => {}
            Err(e @ rustix::io::Errno::NOSPC) => return Err(e.into()),
            Err(_) => {
                let mut left = size;
                while left > 0 {
                    let piece = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
                    file.write_all(&vec![0; piece])?;
                    left -= piece as u64;
                }
            }
        }
        file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn it_holds_room_and_gives_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db-ballast");
        let mut ballast = Ballast::new(path.clone(), 1 << 20);
        assert!(ballast.make() && ballast.make());
        assert!(fs::metadata(&path).unwrap().blocks() * 512 >= 1 << 20);
        ballast.release();
        assert_eq!(fs::metadata(&path).unwrap().len(), REMAINDERS[0]);
        assert!(!ballast.make_now_and_then(), "not at once again");
        assert!(ballast.release_all() && !ballast.release_all());
        ballast.make_remainder();
        assert_eq!(fs::metadata(&path).unwrap().len(), REMAINDERS[0]);
        assert!(ballast.make());
        assert!(ballast.release_all());
        fs::File::create(&path).unwrap().set_len(1 << 20).unwrap();
        assert!(ballast.make());
        assert!(fs::metadata(&path).unwrap().blocks() * 512 >= 1 << 20, "holes hold no room");
    }

    #[test]
    fn none_is_made_where_it_would_take_the_last_room_or_is_not_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db-ballast");
        let greedy = Ballast { path: path.clone(), size: u64::MAX, next_try: Instant::now() };
        assert!(!greedy.make());
        assert!(!Ballast::new(path.clone(), u64::MAX).is_wanted(), "no disk is large enough");
        assert!(Ballast::new(path.clone(), 0).make());
        assert!(!path.exists());
    }
}
