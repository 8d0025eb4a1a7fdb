//! The disk of `image.rs` as a file system of the kernel, through FUSE.
//!
//! Writes go through the page cache to us at once (no write-back cache), reads may be answered from it; SQLite's `-shm`
//! is mapped memory and works because no file is opened for direct I/O. Locks are the kernel's.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, KernelConfig, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite,
    Request, TimeOrNow, WriteFlags,
};

use crate::{
    common::Random,
    image::{Failed, Image, Kind, Survival},
    rules::{Class, Operation, Rule, Rules, Verdict},
};

/// Nothing is kept by the kernel: a fault has to be seen by whoever comes next.
const TTL: Duration = Duration::ZERO;
const BLOCK: u32 = 4096;

/// A disk and the folder where it is mounted.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: tempfile::TempDir,
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
}

#[derive(Debug)]
struct Shared {
    image: Mutex<Image>,
    rules: Mutex<Rules>,
    /// No power: every operation fails.
    is_off: AtomicBool,
}

impl Disk {
    /// `capacity` in bytes.
    pub(crate) fn new(seed: u64, capacity: Option<u64>) -> Self {
        let folder = tempfile::Builder::new().prefix("plimsoll-faults-").tempdir().expect("a folder");
        let shared = Shared {
            image: Mutex::new(Image::new(capacity)),
            rules: Mutex::new(Rules::new(seed)),
            is_off: AtomicBool::new(false),
        };
        let mut disk = Self { folder, shared: Arc::new(shared), session: None };
        disk.mount();
        disk
    }

    fn mount(&mut self) {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("plimsoll-faults".into())];
        config.n_threads = Some(16);
        let files = Files { shared: Arc::clone(&self.shared) };
        let session = fuser::spawn_mount(files, self.folder.path(), &config);
        self.session = Some(session.expect("FUSE can be mounted; /dev/fuse and root are needed"));
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn hold(&self, rules: Vec<Rule>) {
        self.rules().holding = rules;
    }

    pub(crate) fn release(&self) {
        self.rules().holding.clear();
        self.image().free();
    }

    /// Operations that a rule hit.
    pub(crate) fn injected(&self) -> u64 {
        self.rules().injected
    }

    /// Another program takes all room but `left` bytes.
    pub(crate) fn fill(&self, left: u64) {
        self.image().fill(left);
    }

    fn image(&self) -> MutexGuard<'_, Image> {
        self.shared.image.lock().expect("no operation panics")
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.shared.rules.lock().expect("no operation panics")
    }

    /// From now on nothing is read, written or synced any more.
    pub(crate) fn power_off(&self) {
        // With the image in hand: no operation is half done.
        let _image = self.image();
        self.shared.is_off.store(true, Ordering::SeqCst);
    }

    /// Each piece that was not synced survives with a chance of `percent`. No process may have files open.
    pub(crate) fn power_on(&mut self, seed: u64, percent: u64) -> Survival {
        self.unmount();
        self.rules().holding.clear();
        let survival = self.image().cut(&mut Random::new(seed), percent);
        self.image().free();
        self.shared.is_off.store(false, Ordering::SeqCst);
        self.mount();
        survival
    }

    fn unmount(&mut self) {
        if let Some(session) = self.session.take() {
            session.umount_and_join().expect("nobody uses the disk");
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A failed test may leave a server behind for a moment: the session unmounts by itself when it is dropped.
        self.rules().holding.clear();
        drop(self.session.take());
    }
}

#[derive(Debug)]
struct Files {
    shared: Arc<Shared>,
}

impl Files {
    fn image(&self) -> MutexGuard<'_, Image> {
        self.shared.image.lock().expect("no operation panics")
    }

    /// Wait or fail as the rules want it, then do `work` unless the power has gone.
    fn on<T>(
        &self,
        class: impl FnOnce(&mut Image) -> Class,
        operation: Operation,
        work: impl FnOnce(&mut Image, Verdict) -> Result<T, Failed>,
    ) -> Result<T, Errno> {
        let class = class(&mut self.image());
        let verdict = self.shared.rules.lock().expect("no operation panics").judge(class, operation);
        verdict.wait();
        let mut image = self.image();
        if self.shared.is_off.load(Ordering::SeqCst) {
            return Err(Errno::EIO);
        }
        work(&mut image, verdict).map_err(Errno::from_i32)
    }

    /// The same where a verdict to fail is all that matters.
    fn unless_failed<T>(
        &self,
        class: impl FnOnce(&mut Image) -> Class,
        operation: Operation,
        work: impl FnOnce(&mut Image) -> Result<T, Failed>,
    ) -> Result<T, Errno> {
        self.on(class, operation, |image, verdict| match verdict.fails {
            Some(number) => Err(number),
            None => work(image),
        })
    }
}

fn attributes(image: &mut Image, number: u64) -> Result<FileAttr, Failed> {
    let node = image.node(number)?;
    let (size, kind) = match &node.kind {
        Kind::File(file) => (file.live.len() as u64, FileType::RegularFile),
        Kind::Folder(_) => (0, FileType::Directory),
    };
    Ok(FileAttr {
        ino: INodeNo(number),
        size,
        blocks: size.div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: node.changed,
        ctime: node.changed,
        crtime: UNIX_EPOCH,
        kind,
        perm: (node.mode & 0o7777) as u16,
        nlink: node.names,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    })
}

macro_rules! answer {
    ($reply:ident, $result:expr, $value:pat => $done:expr) => {
        match $result {
            Ok($value) => $done,
            Err(number) => $reply.error(number),
        }
    };
}

impl Filesystem for Files {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let _ = config.set_max_write(1 << 20);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut image = self.image();
        let found = image.lookup(parent.0, name).and_then(|number| attributes(&mut image, number));
        answer!(reply, found.map_err(Errno::from_i32), attr => reply.entry(&TTL, &attr, Generation(0)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let found = attributes(&mut self.image(), ino.0).map_err(Errno::from_i32);
        answer!(reply, found, attr => reply.attr(&TTL, &attr));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut done = Ok(());
        if let Some(size) = size {
            let resize = |image: &mut Image| image.resize(ino.0, size as usize);
            done = self.unless_failed(|image| image.class(ino.0), Operation::Truncate, resize);
        }
        let changed = done.and_then(|()| {
            let mut image = self.image();
            let node = image.node(ino.0).map_err(Errno::from_i32)?;
            node.mode = mode.unwrap_or(node.mode);
            if let Some(TimeOrNow::SpecificTime(time)) = mtime {
                node.changed = time;
            }
            attributes(&mut image, ino.0).map_err(Errno::from_i32)
        });
        answer!(reply, changed, attr => reply.attr(&TTL, &attr));
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let class = |image: &mut Image| image.class_in(parent.0, name);
        let made = self.unless_failed(class, Operation::MakeFolder, |image| {
            let number = image.create(parent.0, name, mode & !umask, true)?;
            attributes(image, number)
        });
        answer!(reply, made, attr => reply.entry(&TTL, &attr, Generation(0)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let class = |image: &mut Image| image.class_in(parent.0, name);
        let done = self.unless_failed(class, Operation::Remove, |image| image.remove(parent.0, name));
        answer!(reply, done, () => reply.ok());
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.unlink(request, parent, name, reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let class = |image: &mut Image| image.class_in(parent.0, name);
        let done = self.unless_failed(class, Operation::Rename, |image| {
            image.rename((parent.0, name), (newparent.0, newname))
        });
        answer!(reply, done, () => reply.ok());
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let class = |image: &mut Image| image.class(ino.0);
        let done = self.unless_failed(class, Operation::Open, |image| image.opened(ino.0));
        answer!(reply, done, () => reply.opened(FileHandle(0), FopenFlags::empty()));
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let class = |image: &mut Image| image.class_in(parent.0, name);
        let made = self.unless_failed(class, Operation::Create, |image| {
            let number = image.create(parent.0, name, mode & !umask, false)?;
            image.opened(number)?;
            attributes(image, number)
        });
        answer!(reply, made, attr => {
            reply.created(&TTL, &attr, Generation(0), FileHandle(0), FopenFlags::empty());
        });
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.image().closed(ino.0);
        reply.ok();
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let class = |image: &mut Image| image.class(ino.0);
        let read = self.unless_failed(class, Operation::Read, |image| {
            let bytes = &image.file(ino.0)?.live;
            let from = (offset as usize).min(bytes.len());
            let to = (from + size as usize).min(bytes.len());
            Ok(bytes[from..to].to_vec())
        });
        answer!(reply, read, bytes => reply.data(&bytes));
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        flags: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let at = offset as usize;
        if flags.contains(WriteFlags::FUSE_WRITE_CACHE) {
            // Mapped memory (`-shm`) written back: no write of the server's that could be told of a failure.
            let done = self.image().write(ino.0, at, data).map_err(Errno::from_i32);
            return answer!(reply, done, size => reply.written(size as u32));
        }
        let class = |image: &mut Image| image.class(ino.0);
        let done = self.on(class, Operation::Write, |image, verdict| {
            if let Some(number) = verdict.fails {
                return Err(number);
            }
            let size = if verdict.is_short {
                self.shared.rules.lock().expect("no operation panics").part_of(data.len())
            } else {
                data.len()
            };
            image.write(ino.0, at, &data[..size])
        });
        answer!(reply, done, size => reply.written(size as u32));
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let class = |image: &mut Image| image.class(ino.0);
        let done = self.on(class, Operation::Sync, |image, verdict| match verdict.fails {
            Some(number) => {
                image.sync_failed(ino.0);
                Err(number)
            }
            None => image.sync(ino.0),
        });
        answer!(reply, done, () => reply.ok());
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let class = |image: &mut Image| image.class(ino.0);
        let done = self.unless_failed(class, Operation::SyncFolder, |image| image.sync(ino.0));
        answer!(reply, done, () => reply.ok());
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        // An entry's offset is its inode number: names that come and go between two calls move no other.
        let mut image = self.image();
        let names: Result<Vec<(OsString, u64)>, Failed> =
            image.folder(ino.0).map(|folder| folder.live.iter().map(|(n, i)| (n.clone(), *i)).collect());
        let mut names = match names {
            Ok(names) => names,
            Err(number) => return reply.error(Errno::from_i32(number)),
        };
        names.sort_by_key(|(_, number)| *number);
        for (name, number) in names.into_iter().filter(|(_, number)| *number > offset) {
            let kind = match image.node(number).map(|node| &node.kind) {
                Ok(Kind::Folder(_)) => FileType::Directory,
                _ => FileType::RegularFile,
            };
            if reply.add(INodeNo(number), number, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let told = self.unless_failed(
            |_| Class::Other,
            Operation::Statfs,
            |image| Ok((image.total() / u64::from(BLOCK), image.room() / u64::from(BLOCK))),
        );
        answer!(reply, told, (total, room) => {
            reply.statfs(total, room, room, 1 << 30, 1 << 30, BLOCK, 255, BLOCK);
        });
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode & !libc::FALLOC_FL_KEEP_SIZE != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let class = |image: &mut Image| image.class(ino.0);
        let done = self.unless_failed(class, Operation::Allocate, |image| {
            image.reserve(ino.0, offset + length, mode & libc::FALLOC_FL_KEEP_SIZE != 0)
        });
        answer!(reply, done, () => reply.ok());
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        io::Write as _,
    };

    use super::Disk;
    use crate::rules::{Class, Effect, Operation, Rule};

    fn sync_folder(disk: &Disk) {
        File::open(disk.path()).unwrap().sync_all().unwrap();
    }

    #[test]
    fn a_cut_leaves_synced_bytes_under_synced_names_and_nothing_else() {
        let mut disk = Disk::new(1, None);
        for name in ["both", "bytes", "name"] {
            let mut file = File::create(disk.path().join(name)).unwrap();
            file.write_all(b"kept").unwrap();
            if name != "name" {
                file.sync_data().unwrap();
            }
            if name == "both" {
                sync_folder(&disk);
                file.write_all(b", and lost").unwrap();
            }
        }
        disk.power_off();
        assert!(
            fs::read(disk.path().join("both")).is_err() && File::create(disk.path().join("late")).is_err()
        );
        disk.power_on(1, 0);
        let names: Vec<_> =
            fs::read_dir(disk.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["both"]);
        assert_eq!(fs::read(disk.path().join("both")).unwrap(), b"kept");
    }

    #[test]
    fn bytes_whose_sync_failed_are_read_until_the_cut_and_written_by_no_later_sync() {
        let mut disk = Disk::new(1, None);
        let path = disk.path().join("file");
        let mut file = File::create(&path).unwrap();
        sync_folder(&disk);
        file.write_all(b"lost").unwrap();
        disk.hold(vec![Rule {
            class: Some(Class::Other),
            operation: Some(Operation::Sync),
            effect: Effect::Fail(libc::EIO),
            percent: 100,
        }]);
        assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(libc::EIO));
        disk.release();
        file.write_all(b"kept").unwrap();
        file.sync_data().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"lostkept");
        drop(file);
        disk.power_on(1, 0);
        assert_eq!(fs::read(&path).unwrap(), b"\0\0\0\0kept");
    }

    #[test]
    fn a_disk_that_another_program_filled_takes_nothing_until_it_is_freed() {
        let disk = Disk::new(1, Some(1 << 20));
        let path = disk.path().join("file");
        disk.fill(8192);
        let mut file = File::create(&path).unwrap();
        assert_eq!(file.write(&[1; 10_000]).unwrap(), 8192);
        assert_eq!(file.write(&[1; 1]).unwrap_err().raw_os_error(), Some(libc::ENOSPC));
        disk.release();
        file.write_all(&[1; 10_000]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 18_192);
    }
}
