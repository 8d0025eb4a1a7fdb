//! Files that no upload refers to: set aside once they are a day old, and deleted a week later. A ledger that is not the
//! store's own, is damaged or comes from a backup takes good files for orphans; until then they can be moved back.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    time::{Duration, SystemTime},
};

use crate::private::sync_folder;

/// A file that was written to since is left alone.
const LEAST_AGE: Duration = Duration::from_secs(24 * 3600);
/// A file that was set aside stays for this long.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// [ENG-14] Move a file into `aside`, unless it is younger than a day; whether it was moved. One that is not there is left
/// at that.
pub(super) fn set_aside(file: &Path, aside: &Path, now: SystemTime) -> io::Result<bool> {
    if !is_older(file, LEAST_AGE, now)? {
        return Ok(false);
    }
    let Some(name) = file.file_name() else { return Ok(false) };
    match DirBuilder::new().mode(0o700).create(aside) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    // Its age counts from here on.
    File::options().write(true).open(file)?.set_modified(now)?;
    fs::rename(file, aside.join(name))?;
    for folder in [Some(aside), aside.parent(), file.parent()].into_iter().flatten() {
        sync_folder(folder)?;
    }
    Ok(true)
}

/// Delete what was set aside a week ago; how many.
pub(super) fn purge(aside: &Path, now: SystemTime) -> io::Result<u64> {
    let entries = match fs::read_dir(aside) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(e),
    };
    let mut purged = 0;
    for entry in entries {
        let path = entry?.path();
        if is_older(&path, KEPT, now)? {
            fs::remove_file(&path)?;
            purged += 1;
        }
    }
    Ok(purged)
}

/// A time in the future is that of a clock which was wrong, then or now: such a file is young.
fn is_older(file: &Path, age: Duration, now: SystemTime) -> io::Result<bool> {
    let modified = match fs::metadata(file) {
        Ok(found) => found.modified()?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    Ok(now.duration_since(modified).is_ok_and(|past| past >= age))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn file(folder: &tempfile::TempDir, name: &str, age: Duration) -> std::path::PathBuf {
        let path = folder.path().join(name);
        let file = File::create(&path).unwrap();
        file.set_modified(NOW.minus(age).to_system()).unwrap();
        path
    }

    // [ENG-14]
    #[test]
    fn only_what_is_a_day_old_is_set_aside_and_a_week_later_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let aside = folder.path().join("orphans");
        let hour = Duration::from_secs(3600);
        let now = NOW.to_system();
        let (old, young) = (file(&folder, "old", 25 * hour), file(&folder, "young", 23 * hour));
        let future = file(&folder, "future", Duration::ZERO);
        File::options().write(true).open(&future).unwrap().set_modified(NOW.plus(hour).to_system()).unwrap();
        assert!(set_aside(&old, &aside, now).unwrap());
        for kept in [&young, &future, &old] {
            assert!(!set_aside(kept, &aside, now).unwrap(), "{}", kept.display());
        }
        assert!(young.exists() && future.exists() && !old.exists() && aside.join("old").exists());
        assert_eq!(purge(&aside, NOW.plus(167 * hour).to_system()).unwrap(), 0);
        assert_eq!(purge(&aside, NOW.plus(168 * hour).to_system()).unwrap(), 1);
        assert!(!aside.join("old").exists());
    }

    #[test]
    fn nothing_was_set_aside_where_there_is_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(purge(&folder.path().join("orphans"), NOW.to_system()).unwrap(), 0);
    }
}
