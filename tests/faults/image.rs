//! A disk in memory that knows what POSIX promises to survive a power cut.
//!
//! ```text
//!   a file      live ──fsync──> durable      its bytes and its size
//!   a folder    live ──fsync──> durable      the names in it
//! ```
//!
//! Nothing else becomes durable: not a new file's name by the sync of the file, not the bytes by the sync of the folder.
//! What was not synced survives a cut piece by piece, by chance. After a sync that failed its pages are clean and lost,
//! as on Linux: they are read back until the cut, and no later sync writes them.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::{OsStr, OsString},
    time::SystemTime,
};

use crate::{common::Random, rules::Class};

/// What a disk and its page cache deal in.
const PAGE: usize = 4096;
/// What an unbounded disk says of itself.
const LARGE: u64 = 64 << 30;

pub(crate) const ROOT: u64 = 1;

/// A positive error number of Linux.
pub(crate) type Failed = i32;

/// A change of a file since its last sync.
#[derive(Clone, Copy, Debug)]
enum Change {
    Write { from: usize, to: usize },
    Resize(usize),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct File {
    pub(crate) live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    /// Bytes of the disk that it holds.
    allocated: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Folder {
    pub(crate) live: BTreeMap<OsString, u64>,
    durable: BTreeMap<OsString, u64>,
    unsynced: Vec<Rename>,
}

/// A name that changed since the last sync of its folder. A rename within a folder is one change: it happens or not.
#[derive(Clone, Debug)]
struct Rename {
    removed: Option<OsString>,
    added: Option<(OsString, u64)>,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    File(File),
    Folder(Folder),
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) class: Class,
    pub(crate) mode: u32,
    pub(crate) changed: SystemTime,
    pub(crate) names: u32,
    handles: u32,
    pub(crate) kind: Kind,
}

/// What a cut did to the pieces that were not synced.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Survival {
    pub(crate) kept: u64,
    pub(crate) lost: u64,
}

#[derive(Debug)]
pub(crate) struct Image {
    nodes: HashMap<u64, Node>,
    next: u64,
    capacity: Option<u64>,
    used: u64,
    /// Bytes that another program holds.
    foreign: u64,
}

#[allow(clippy::disallowed_methods, reason = "the times of files are the wall clock's")]
fn now() -> SystemTime {
    SystemTime::now()
}

impl Image {
    pub(crate) fn new(capacity: Option<u64>) -> Self {
        let mut image = Self { nodes: HashMap::new(), next: ROOT, capacity, used: 0, foreign: 0 };
        image.make(Class::Other, 0o755, Kind::Folder(Folder::default()));
        image
    }

    fn make(&mut self, class: Class, mode: u32, kind: Kind) -> u64 {
        let node = Node { class, mode, changed: now(), names: 1, handles: 0, kind };
        self.nodes.insert(self.next, node);
        self.next += 1;
        self.next - 1
    }

    pub(crate) fn node(&mut self, number: u64) -> Result<&mut Node, Failed> {
        self.nodes.get_mut(&number).ok_or(libc::ENOENT)
    }

    pub(crate) fn file(&mut self, number: u64) -> Result<&mut File, Failed> {
        match &mut self.node(number)?.kind {
            Kind::File(file) => Ok(file),
            Kind::Folder(_) => Err(libc::EISDIR),
        }
    }

    pub(crate) fn folder(&mut self, number: u64) -> Result<&mut Folder, Failed> {
        match &mut self.node(number)?.kind {
            Kind::Folder(folder) => Ok(folder),
            Kind::File(_) => Err(libc::ENOTDIR),
        }
    }

    pub(crate) fn class(&self, number: u64) -> Class {
        self.nodes.get(&number).map_or(Class::Other, |node| node.class)
    }

    /// The class of what has, or will have, this name in this folder.
    pub(crate) fn class_in(&self, folder: u64, name: &OsStr) -> Class {
        match (self.class(folder), name.to_string_lossy()) {
            (Class::Blobs, _) => Class::Blobs,
            (_, name) if name == "blobs" => Class::Blobs,
            (_, name) if name.starts_with("ledger.db") => Class::Ledger,
            (other, _) => other,
        }
    }

    pub(crate) fn lookup(&mut self, folder: u64, name: &OsStr) -> Result<u64, Failed> {
        self.folder(folder)?.live.get(name).copied().ok_or(libc::ENOENT)
    }

    pub(crate) fn create(
        &mut self,
        folder: u64,
        name: &OsStr,
        mode: u32,
        is_folder: bool,
    ) -> Result<u64, Failed> {
        if self.lookup(folder, name).is_ok() {
            return Err(libc::EEXIST);
        }
        let kind = if is_folder { Kind::Folder(Folder::default()) } else { Kind::File(File::default()) };
        let class = self.class_in(folder, name);
        let number = self.make(class, mode, kind);
        let added = Some((name.to_owned(), number));
        self.folder(folder)?.change(Rename { removed: None, added });
        Ok(number)
    }

    pub(crate) fn remove(&mut self, folder: u64, name: &OsStr) -> Result<(), Failed> {
        let number = self.lookup(folder, name)?;
        if let Kind::Folder(inner) = &self.node(number)?.kind
            && !inner.live.is_empty()
        {
            return Err(libc::ENOTEMPTY);
        }
        self.folder(folder)?.change(Rename { removed: Some(name.to_owned()), added: None });
        self.unname(number);
        Ok(())
    }

    pub(crate) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Result<(), Failed> {
        let number = self.lookup(from.0, from.1)?;
        if let Ok(replaced) = self.lookup(to.0, to.1) {
            if replaced == number {
                return Ok(());
            }
            self.unname(replaced);
        }
        let added = Some((to.1.to_owned(), number));
        if from.0 == to.0 {
            self.folder(to.0)?.change(Rename { removed: Some(from.1.to_owned()), added });
        } else {
            self.folder(to.0)?.change(Rename { removed: None, added });
            self.folder(from.0)?.change(Rename { removed: Some(from.1.to_owned()), added: None });
        }
        Ok(())
    }

    pub(crate) fn opened(&mut self, number: u64) -> Result<(), Failed> {
        self.node(number)?.handles += 1;
        Ok(())
    }

    pub(crate) fn closed(&mut self, number: u64) {
        if let Ok(node) = self.node(number) {
            node.handles = node.handles.saturating_sub(1);
        }
        self.give_back(number);
    }

    fn unname(&mut self, number: u64) {
        if let Ok(node) = self.node(number) {
            node.names = 0;
        }
        self.give_back(number);
    }

    /// The blocks of what has neither a name nor a handle are free.
    fn give_back(&mut self, number: u64) {
        if self.nodes.get(&number).is_some_and(|node| node.names == 0 && node.handles == 0) {
            let _ = self.allocate(number, 0);
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.capacity.unwrap_or(LARGE)
    }

    /// Bytes that are left.
    pub(crate) fn room(&self) -> u64 {
        self.total().saturating_sub(self.used + self.foreign)
    }

    /// Another program takes all room but `left`.
    pub(crate) fn fill(&mut self, left: u64) {
        self.foreign = 0;
        self.foreign = self.room().saturating_sub(left);
    }

    pub(crate) fn free(&mut self) {
        self.foreign = 0;
    }

    /// Let a file hold so many bytes of the disk, or as many as there are.
    fn allocate(&mut self, number: u64, wanted: u64) -> Result<(), Failed> {
        let room = self.room();
        let wanted = wanted.next_multiple_of(PAGE as u64);
        let held = self.file(number).map_or(0, |file| file.allocated);
        let given = wanted.min(held.max(held + room));
        if let Ok(file) = self.file(number) {
            file.allocated = given;
        }
        self.used = self.used - held + given;
        if given < wanted { Err(libc::ENOSPC) } else { Ok(()) }
    }

    /// Bytes that were written: fewer than `data` when the disk ends within them.
    pub(crate) fn write(&mut self, number: u64, at: usize, data: &[u8]) -> Result<usize, Failed> {
        let end = at + data.len();
        let held = self.file(number)?.allocated;
        let mut size = data.len();
        if end as u64 > held && self.allocate(number, end as u64).is_err() {
            let held = self.file(number)?.allocated as usize;
            size = held.saturating_sub(at);
            if size == 0 {
                return Err(libc::ENOSPC);
            }
        }
        let file = self.file(number)?;
        if file.live.len() < at + size {
            file.live.resize(at + size, 0);
        }
        file.live[at..at + size].copy_from_slice(&data[..size]);
        file.unsynced.push(Change::Write { from: at, to: at + size });
        self.node(number)?.changed = now();
        Ok(size)
    }

    pub(crate) fn resize(&mut self, number: u64, size: usize) -> Result<(), Failed> {
        let file = self.file(number)?;
        file.live.resize(size, 0);
        file.unsynced.push(Change::Resize(size));
        let held = file.allocated.min(size as u64);
        self.node(number)?.changed = now();
        self.allocate(number, held)
    }

    /// fallocate(2): when the disk ends within the stretch, what could be had stays allocated, as on ext4.
    pub(crate) fn reserve(&mut self, number: u64, end: u64, keeps_size: bool) -> Result<(), Failed> {
        let held = self.file(number)?.allocated;
        if end > held {
            self.allocate(number, end)?;
        }
        if !keeps_size && self.file(number)?.live.len() < end as usize {
            let file = self.file(number)?;
            file.live.resize(end as usize, 0);
            file.unsynced.push(Change::Resize(end as usize));
        }
        Ok(())
    }

    pub(crate) fn sync(&mut self, number: u64) -> Result<(), Failed> {
        match &mut self.node(number)?.kind {
            Kind::File(file) => file.sync(),
            Kind::Folder(folder) => {
                folder.durable.clone_from(&folder.live);
                folder.unsynced.clear();
            }
        }
        Ok(())
    }

    /// A sync that fails: the pages are clean now, and lost.
    pub(crate) fn sync_failed(&mut self, number: u64) {
        if let Ok(file) = self.file(number) {
            // Sizes are of the file system's own making: they are only not durable yet.
            file.unsynced.retain(|change| matches!(change, Change::Resize(_)));
        }
    }

    /// Power goes and comes back: each unsynced piece survives with a chance of `percent`.
    pub(crate) fn cut(&mut self, random: &mut Random, percent: u64) -> Survival {
        let mut told = Survival::default();
        let mut nodes = std::mem::take(&mut self.nodes);
        let mut chance = |keeps: &mut Survival| {
            let survives = random.within(0..100) < percent;
            *(if survives { &mut keeps.kept } else { &mut keeps.lost }) += 1;
            survives
        };
        let mut waiting = vec![ROOT];
        self.used = 0;
        while let Some(number) = waiting.pop() {
            let Some(mut node) = nodes.remove(&number) else { continue };
            match &mut node.kind {
                Kind::File(file) => {
                    file.cut(&mut || chance(&mut told));
                    self.used += file.allocated;
                }
                Kind::Folder(folder) => {
                    folder.cut(&mut || chance(&mut told));
                    waiting.extend(folder.live.values());
                }
            }
            (node.names, node.handles) = (1, 0);
            self.nodes.insert(number, node);
        }
        told
    }
}

impl File {
    fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            match change {
                Change::Write { from, to } => self.copy(from, to),
                Change::Resize(size) => self.durable.resize(size, 0),
            }
        }
        self.durable.resize(self.live.len(), 0);
    }

    /// Make the live bytes of a stretch durable, as far as they are still there.
    fn copy(&mut self, from: usize, to: usize) {
        let to = to.min(self.live.len());
        if from < to {
            if self.durable.len() < to {
                self.durable.resize(to, 0);
            }
            self.durable[from..to].copy_from_slice(&self.live[from..to]);
        }
    }

    fn cut(&mut self, survives: &mut impl FnMut() -> bool) {
        for change in std::mem::take(&mut self.unsynced) {
            match change {
                Change::Write { mut from, to } => {
                    while from < to {
                        let end = ((from / PAGE + 1) * PAGE).min(to);
                        if survives() {
                            self.copy(from, end);
                        }
                        from = end;
                    }
                }
                Change::Resize(size) if survives() => self.durable.resize(size, 0),
                Change::Resize(_) => {}
            }
        }
        self.live.clone_from(&self.durable);
        self.allocated = (self.live.len() as u64).next_multiple_of(PAGE as u64);
    }
}

impl Folder {
    fn change(&mut self, rename: Rename) {
        rename.apply(&mut self.live);
        self.unsynced.push(rename);
    }

    fn cut(&mut self, survives: &mut impl FnMut() -> bool) {
        for rename in std::mem::take(&mut self.unsynced) {
            if survives() {
                rename.apply(&mut self.durable);
            }
        }
        self.live.clone_from(&self.durable);
    }
}

impl Rename {
    fn apply(&self, names: &mut BTreeMap<OsString, u64>) {
        if let Some(name) = &self.removed {
            names.remove(name);
        }
        if let Some((name, number)) = &self.added {
            names.insert(name.clone(), *number);
        }
    }
}
