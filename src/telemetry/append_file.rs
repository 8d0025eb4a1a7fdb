//! A file that is appended to a line at a time, and opened anew once whoever rotates it has moved it away.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Lines of several threads, and of several processes, do not mix: each is one append.
#[derive(Debug)]
pub(super) struct AppendFile {
    path: PathBuf,
    /// What others may do with a file that is made here.
    mode: u32,
    current: Mutex<File>,
}

impl AppendFile {
    /// Opens the file, and makes it with `mode` (less the umask) where there is none.
    pub(super) fn open(path: &Path, mode: u32) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), mode, current: Mutex::new(append_to(path, mode)?) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Goes on in a file of the same name.
    ///
    /// # Errors
    /// It cannot be opened; then it goes on in the old one.
    pub(super) fn reopen(&self) -> io::Result<()> {
        let new = append_to(&self.path, self.mode)?;
        *self.current() = new;
        Ok(())
    }

    /// Appends `line`, its end included, in one piece, also while the file is opened anew.
    pub(super) fn append(&self, line: &[u8]) -> io::Result<()> {
        self.current().write_all(line)
    }

    pub(super) fn current(&self) -> MutexGuard<'_, File> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn append_to(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(mode).open(path)
}
