//! Files and folders that only the server's user may read: they tell URLs, and who uploaded what.

use std::{
    fs::{DirBuilder, File, OpenOptions, metadata, rename},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// What nobody but the owner may do.
const OTHERS: u32 = 0o077;

/// [ENG-49] Make a folder with mode 0700, and those above it that are missing. [ENG-50] Each is synced in its parent, so
/// that a power cut leaves no file in a folder without a name.
///
/// # Errors
/// What the system says; a folder that exists is none.
pub fn make_folder(path: &Path) -> io::Result<()> {
    let path = if path == Path::new("") { Path::new(".") } else { path };
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => sync_folder(&parent(path)),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound && parent(path) != path => {
            make_folder(&parent(path))?;
            DirBuilder::new().mode(0o700).create(path)?;
            sync_folder(&parent(path))
        }
        Err(e) => Err(e),
    }
}

/// Open a file for writing, made with mode 0600 when it is missing, and synced in its folder then.
///
/// # Errors
/// What the system says.
pub fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    match options.open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let file = options.create(true).truncate(false).open(path)?;
            sync_folder(&parent(path))?;
            Ok(file)
        }
        opened => opened,
    }
}

/// Put `content` in the place of a file, wholly or not at all, whenever the power goes.
///
/// # Errors
/// What the system says; the file is as it was then.
pub fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".draft");
    let draft = PathBuf::from(draft);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    rename(&draft, path)?;
    sync_folder(&parent(path))
}

/// Make the names in a folder durable.
///
/// # Errors
/// What the system says.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The folder that a path is in.
#[must_use]
pub fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_path_buf(),
        Some(_) => PathBuf::from("."),
        None => path.to_path_buf(),
    }
}

/// [ENG-49] What is wrong with who may use a path, and what to do, if anything; a path that is not there is none.
#[must_use]
pub fn exposure(path: &Path) -> Option<String> {
    let found = metadata(path).ok()?;
    let (mode, at) = (found.mode() & 0o7777, path.display());
    let wanted = if found.is_dir() { "700" } else { "600" };
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Some(format!("{at} belongs to another user\n    to do: chown it to the server's user"));
    }
    (mode & OTHERS != 0)
        .then(|| format!("others may use {at}, its mode is {mode:04o}\n    to do: chmod {wanted} {at}"))
}

/// Log what [`exposure`] says of these.
pub fn warn_of_exposed<'a>(paths: impl IntoIterator<Item = &'a Path>) {
    for text in paths.into_iter().filter_map(exposure) {
        tracing::warn!("{text}");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn mode(path: &Path) -> u32 {
        metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_made_is_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b/c");
        make_folder(&deep).unwrap();
        make_folder(&deep).unwrap();
        for part in ["a", "a/b", "a/b/c"] {
            assert_eq!(mode(&folder.path().join(part)), 0o700, "{part}");
        }
        open_file(&deep.join("file")).unwrap();
        replace_file(&deep.join("other"), b"text").unwrap();
        assert_eq!((mode(&deep.join("file")), mode(&deep.join("other"))), (0o600, 0o600));
        assert_eq!(fs::read(deep.join("other")).unwrap(), b"text");
    }

    /// How often a folder is opened meanwhile, which is how it is synced.
    fn openings(folder: &Path, act: impl FnOnce()) -> usize {
        use rustix::fs::inotify;
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
        inotify::add_watch(&watch, folder, inotify::WatchFlags::OPEN).unwrap();
        act();
        let mut space = [std::mem::MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&watch, &mut space);
        let mut count = 0;
        while let Ok(event) = events.next() {
            count += usize::from(event.file_name().is_none());
        }
        count
    }

    // [ENG-50]
    #[test]
    fn a_new_folder_or_file_is_synced_in_its_parent_and_an_old_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (root, deep) = (folder.path(), folder.path().join("a/b"));
        assert_eq!(openings(root, || make_folder(&deep).unwrap()), 1);
        assert_eq!(openings(root, || make_folder(&deep).unwrap()), 0);
        assert_eq!(openings(&deep, || make_folder(&deep.join("c")).unwrap()), 1);
        assert_eq!(openings(&deep, || drop(open_file(&deep.join("file")).unwrap())), 1);
        assert_eq!(openings(&deep, || drop(open_file(&deep.join("file")).unwrap())), 0);
        assert_eq!(openings(&deep, || replace_file(&deep.join("file"), b"text").unwrap()), 1);
    }

    #[test]
    fn what_others_may_use_is_told_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        assert_eq!(exposure(&file), None);
        open_file(&file).unwrap();
        assert_eq!(exposure(&file), None);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(exposure(&file).unwrap().contains("to do: chmod 600"));
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o750)).unwrap();
        assert!(exposure(folder.path()).unwrap().contains("to do: chmod 700"));
    }
}
