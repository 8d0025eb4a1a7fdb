//! What every store of bytes must do. Each case is a function of a store, so that another implementation is one
//! more `suite!` line: the local disk in both durabilities, and the simulated stores that the model test believes in.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may stop at what it does not expect, and its files are small"
)]

#[path = "model/rules.rs"]
#[allow(dead_code, reason = "the simulator's clients need it, and a store has none")]
mod rules;
#[path = "model/sim/mod.rs"]
mod sim;

use std::{
    collections::BTreeSet,
    fs,
    ops::Range,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::PathBuf,
    sync::Arc,
};

use bytes::Bytes;
use futures_util::{TryStreamExt, future::join_all};
use plimsoll::{
    blobs::{
        BlobWriter, Blobs, Durable,
        disk::{DiskBlobs, DiskOptions, Durability},
    },
    fault::Fault,
    telemetry::Metrics,
    upload::{BlobKey, Offset},
};
use sim::{Style, World, blobs::SimBlobs};
use tokio_util::sync::CancellationToken;

fn key(n: u32) -> BlobKey {
    // Spread over the shards.
    BlobKey(format!("{:08x}{n:024x}", n.wrapping_mul(0x9e37_79b9)))
}

/// Bytes that tell where they belong.
fn bytes(range: Range<u64>) -> Bytes {
    range.map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// Write the bytes that belong at `range`, in pieces of `size`.
async fn fill(writer: &mut Box<dyn BlobWriter>, range: Range<u64>, size: u64) {
    let mut at = range.start;
    while at < range.end {
        let end = (at + size).min(range.end);
        writer.write(bytes(at..end)).await.unwrap();
        at = end;
    }
}

async fn sync(writer: &mut Box<dyn BlobWriter>) -> Durable {
    writer.checkpoint().await.unwrap().await.unwrap()
}

/// A blob of `size` bytes, all durable, and its writer gone.
async fn stored(store: &dyn Blobs, key: &BlobKey, size: u64) -> Durable {
    let mut writer = store.create(key, Some(size)).await.unwrap();
    fill(&mut writer, 0..size, 100_000).await;
    sync(&mut writer).await
}

async fn read(store: &dyn Blobs, key: &BlobKey, range: Range<u64>) -> Result<Bytes, Fault> {
    let pieces: Vec<Bytes> = store.read(key, range).await?.try_collect().await?;
    Ok(pieces.concat().into())
}

/// What lies in the store below a durable offset, seen by going on there and completing: stores that keep immutable
/// parts let nobody read a blob that is not in the ledger.
async fn length(store: &dyn Blobs, key: &BlobKey, at: &Durable) -> Option<u64> {
    store.durable_length(key, &at.state).await.unwrap()
}

pub async fn a_checkpoint_tells_how_much_is_durable(store: &dyn Blobs) {
    let mut writer = store.create(&key(1), None).await.unwrap();
    assert_eq!(sync(&mut writer).await.offset, Offset(0));
    fill(&mut writer, 0..10, 3).await;
    assert_eq!(sync(&mut writer).await.offset, Offset(10));
    let again = sync(&mut writer).await;
    assert_eq!(again.offset, Offset(10));
    fill(&mut writer, 10..400_000, 70_000).await;
    let last = sync(&mut writer).await;
    assert_eq!(last.offset, Offset(400_000));
    assert_eq!(length(store, &key(1), &last).await, Some(400_000));
}

pub async fn a_checkpoint_covers_what_was_written_before_it_and_lets_more_be_written(store: &dyn Blobs) {
    let mut writer = store.create(&key(1), Some(1_000)).await.unwrap();
    fill(&mut writer, 0..600, 600).await;
    let running = writer.checkpoint().await.unwrap();
    fill(&mut writer, 600..1_000, 100).await;
    assert_eq!(running.await.unwrap().offset, Offset(600));
    assert_eq!(sync(&mut writer).await.offset, Offset(1_000));
}

pub async fn a_key_is_created_once(store: &dyn Blobs) {
    let first = stored(store, &key(1), 5).await;
    assert!(store.create(&key(1), None).await.is_err());
    assert_eq!(length(store, &key(1), &first).await, Some(5));
}

pub async fn a_resumed_blob_goes_on_at_its_durable_offset(store: &dyn Blobs) {
    let first = stored(store, &key(1), 1_000).await;
    let mut writer = store.resume(&key(1), &first, Some(3_000)).await.unwrap();
    fill(&mut writer, 1_000..2_000, 7).await;
    let second = sync(&mut writer).await;
    drop(writer);
    assert_eq!(second.offset, Offset(2_000));
    let mut writer = store.resume(&key(1), &second, None).await.unwrap();
    fill(&mut writer, 2_000..3_000, 1_000).await;
    let third = sync(&mut writer).await;
    assert_eq!(third.offset, Offset(3_000));
    assert_eq!(length(store, &key(1), &third).await, Some(3_000));
}

// [ENG-2] never append at end-of-file
pub async fn resuming_cuts_what_lies_behind_the_committed_offset(store: &dyn Blobs) {
    let mut writer = store.create(&key(1), Some(1_000)).await.unwrap();
    fill(&mut writer, 0..300, 300).await;
    let committed = sync(&mut writer).await;
    // Durable, but the ledger never heard of it; and a torn tail that is not even durable.
    fill(&mut writer, 300..500, 100).await;
    let _ = sync(&mut writer).await;
    writer.write(Bytes::from_static(&[0xee; 300])).await.unwrap();
    drop(writer);
    let mut writer = store.resume(&key(1), &committed, Some(1_000)).await.unwrap();
    fill(&mut writer, 300..310, 10).await;
    let short = sync(&mut writer).await;
    assert_eq!(short.offset, Offset(310));
    assert_eq!(length(store, &key(1), &short).await, Some(310));
}

pub async fn resuming_refuses_a_blob_that_holds_less_than_the_ledger_says(store: &dyn Blobs) {
    let held = stored(store, &key(1), 100).await;
    let ahead = Durable { offset: Offset(101), ..held.clone() };
    assert!(store.resume(&key(1), &ahead, None).await.err().is_some_and(|fault| fault.lost));
    assert!(store.resume(&key(2), &held, None).await.err().is_some_and(|fault| fault.lost));
    assert_eq!(length(store, &key(1), &held).await, Some(100));
}

pub async fn released_space_takes_no_written_byte_with_it(store: &dyn Blobs) {
    let mut writer = store.create(&key(1), Some(4 * 1024 * 1024)).await.unwrap();
    fill(&mut writer, 0..5_000, 999).await;
    writer.release().await;
    let held = sync(&mut writer).await;
    drop(writer);
    assert_eq!((held.offset, length(store, &key(1), &held).await), (Offset(5_000), Some(5_000)));
    let mut writer = store.resume(&key(1), &held, None).await.unwrap();
    fill(&mut writer, 5_000..5_010, 10).await;
    assert_eq!(sync(&mut writer).await.offset, Offset(5_010));
}

pub async fn empty_pieces_write_nothing(store: &dyn Blobs) {
    let mut writer = store.create(&key(1), None).await.unwrap();
    writer.write(Bytes::new()).await.unwrap();
    fill(&mut writer, 0..4, 2).await;
    writer.write(Bytes::new()).await.unwrap();
    assert_eq!(sync(&mut writer).await.offset, Offset(4));
}

pub async fn deleting_is_idempotent(store: &dyn Blobs) {
    let held = stored(store, &key(1), 10).await;
    let kept = stored(store, &key(2), 10).await;
    store.delete(&key(1)).await.unwrap();
    store.delete(&key(1)).await.unwrap();
    store.delete(&key(3)).await.unwrap();
    assert_eq!(length(store, &key(1), &held).await, None);
    assert!(read(store, &key(1), 0..1).await.is_err());
    assert!(store.resume(&key(1), &held, None).await.is_err());
    assert_eq!(length(store, &key(2), &kept).await, Some(10));
}

pub async fn every_key_is_listed_on_one_page(store: &dyn Blobs) {
    let mut expected = BTreeSet::new();
    for n in 0..60 {
        stored(store, &key(n), u64::from(n)).await;
        expected.insert(key(n).0);
    }
    for n in 0..10 {
        store.delete(&key(n)).await.unwrap();
        expected.remove(&key(n).0);
    }
    let mut listed = Vec::new();
    for page in 0..store.pages() {
        listed.extend(store.keys(page).await.unwrap().into_iter().map(|key| key.0));
    }
    assert_eq!(listed.len(), expected.len());
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), expected);
}

pub async fn writers_of_different_blobs_do_not_mix(store: &dyn Blobs) {
    let writes = (0..20u64).map(|n| async move {
        let mut writer = store.create(&key(n as u32), None).await.unwrap();
        for at in 0..50 {
            writer.write(Bytes::from(vec![n as u8; 100])).await.unwrap();
            if at % 10 == n % 10 {
                let _ = sync(&mut writer).await;
            }
            tokio::task::yield_now().await;
        }
        sync(&mut writer).await
    });
    for (n, held) in join_all(writes).await.into_iter().enumerate() {
        assert_eq!((held.offset, length(store, &key(n as u32), &held).await), (Offset(5_000), Some(5_000)));
    }
}

async fn join(store: &dyn Blobs, key: &BlobKey, parts: &[(BlobKey, u64)]) -> Result<Durable, Fault> {
    let booking = store.book(parts.iter().map(|(_, length)| length).sum())?;
    store.concatenate(key, parts, booking, &CancellationToken::new()).await
}

// Parts are read by the rows that refer to them, which the simulated stores ask for.
pub async fn a_concatenation_is_its_parts_in_order(store: &dyn Blobs) {
    stored(store, &key(1), 300_000).await;
    stored(store, &key(2), 10).await;
    let parts = [(key(2), 7), (key(1), 300_000), (key(2), 10), (key(2), 0)];
    let expected = [bytes(0..7), bytes(0..300_000), bytes(0..10)].concat();
    // A former attempt may have left something under the key.
    for _ in 0..2 {
        let whole = join(store, &key(3), &parts).await.unwrap();
        assert_eq!(whole.offset, Offset(300_017));
        assert_eq!(length(store, &key(3), &whole).await, Some(300_017));
        assert_eq!(read(store, &key(3), 0..300_017).await.unwrap(), expected);
    }
    assert_eq!(read(store, &key(1), 0..300_000).await.unwrap(), bytes(0..300_000));
    assert!(join(store, &key(4), &[(key(2), 11)]).await.is_err());
    assert!(join(store, &key(4), &[(key(9), 1)]).await.is_err());
}

/// For stores that let a blob be read by its key alone.
pub async fn ranges_read_back_as_written(store: &dyn Blobs) {
    const SIZE: u64 = 1_400_000;
    let mut writer = store.create(&key(1), Some(SIZE)).await.unwrap();
    for (range, piece) in [(0..10, 1), (10..70_000, 4_096), (70_000..SIZE, 300_001)] {
        fill(&mut writer, range, piece).await;
    }
    let _ = sync(&mut writer).await;
    for range in [0..SIZE, 0..1, 0..0, 5..5, SIZE - 1..SIZE, SIZE..SIZE, 524_287..524_289, 524_288..1_048_576]
    {
        assert_eq!(read(store, &key(1), range.clone()).await.unwrap(), bytes(range.clone()), "{range:?}");
    }
    assert!(read(store, &key(1), 0..SIZE + 1).await.is_err());
    assert!(read(store, &key(1), SIZE..SIZE + 1).await.is_err());
}

/// [ENG-2] byte for byte: what a resumed writer leaves is its prefix and its own bytes, and nothing of the tail.
pub async fn a_cut_tail_never_shows_again(store: &dyn Blobs) {
    let mut writer = store.create(&key(1), Some(1_000)).await.unwrap();
    fill(&mut writer, 0..300, 300).await;
    let committed = sync(&mut writer).await;
    writer.write(Bytes::from_static(&[0xee; 700])).await.unwrap();
    let _ = sync(&mut writer).await;
    drop(writer);
    let mut writer = store.resume(&key(1), &committed, Some(1_000)).await.unwrap();
    fill(&mut writer, 300..1_000, 64).await;
    let _ = sync(&mut writer).await;
    assert_eq!(read(store, &key(1), 0..1_000).await.unwrap(), bytes(0..1_000));
    assert!(read(store, &key(1), 0..1_001).await.is_err());
}

macro_rules! suite {
    ($implementation:ident, $open:expr $(, plus $($also:ident),+)?) => {
        suite!(@ $implementation, $open,
            a_checkpoint_tells_how_much_is_durable,
            a_checkpoint_covers_what_was_written_before_it_and_lets_more_be_written,
            a_key_is_created_once,
            a_resumed_blob_goes_on_at_its_durable_offset,
            resuming_cuts_what_lies_behind_the_committed_offset,
            resuming_refuses_a_blob_that_holds_less_than_the_ledger_says,
            released_space_takes_no_written_byte_with_it,
            empty_pieces_write_nothing,
            deleting_is_idempotent,
            every_key_is_listed_on_one_page,
            writers_of_different_blobs_do_not_mix
            $(, $($also),+)?
        );
    };
    (@ $implementation:ident, $open:expr, $($case:ident),+) => {
        mod $implementation {
            $(
                #[tokio::test]
                async fn $case() {
                    let (store, _keep) = $open;
                    super::$case(&store).await;
                }
            )+
        }
    };
}

fn options(path: PathBuf, durability: Durability) -> DiskOptions {
    DiskOptions { path, durability, reserve: 0, buffer_memory: 1024 * 1024 }
}

fn disk(durability: Durability) -> (DiskBlobs, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskBlobs::open(&options(folder.path().join("store"), durability), Metrics::new()).unwrap();
    (store, folder)
}

fn simulated(style: Style) -> (SimBlobs, ()) {
    (SimBlobs(World::new(style)), ())
}

fn lazy() -> (SimBlobs, ()) {
    let (store, ()) = simulated(Style::Files);
    store.0.state().lazy = true;
    (store, ())
}

suite!(on_disk, super::disk(super::Durability::Full), plus ranges_read_back_as_written, a_concatenation_is_its_parts_in_order, a_cut_tail_never_shows_again);
suite!(on_disk_relaxed, super::disk(super::Durability::Relaxed), plus ranges_read_back_as_written, a_concatenation_is_its_parts_in_order, a_cut_tail_never_shows_again);
suite!(simulated_files, super::simulated(super::Style::Files), plus ranges_read_back_as_written, a_concatenation_is_its_parts_in_order, a_cut_tail_never_shows_again);
suite!(simulated_files_that_buffer, super::lazy(), plus ranges_read_back_as_written, a_concatenation_is_its_parts_in_order, a_cut_tail_never_shows_again);
suite!(simulated_parts, super::simulated(super::Style::Parts));

// [ENG-27]
#[tokio::test]
async fn a_store_on_disk_serves_one_server_at_a_time() {
    let (store, folder) = disk(Durability::Full);
    let second = options(folder.path().join("store"), Durability::Full);
    let refused = DiskBlobs::open(&second, Metrics::new()).unwrap_err();
    assert!(refused.to_string().contains("another server"), "{refused}");
    drop(store);
    DiskBlobs::open(&second, Metrics::new()).unwrap();
}

#[tokio::test]
async fn bytes_on_disk_survive_reopening() {
    let (store, folder) = disk(Durability::Full);
    let held = stored(&store, &key(1), 10_000).await;
    drop(store);
    let store =
        DiskBlobs::open(&options(folder.path().join("store"), Durability::Full), Metrics::new()).unwrap();
    assert_eq!(read(&store, &key(1), 0..10_000).await.unwrap(), bytes(0..10_000));
    let mut writer = store.resume(&key(1), &held, None).await.unwrap();
    fill(&mut writer, 10_000..10_001, 1).await;
    assert_eq!(sync(&mut writer).await.offset, Offset(10_001));
}

#[tokio::test]
async fn a_blob_on_disk_is_a_private_file_in_its_shard() {
    let (store, folder) = disk(Durability::Full);
    stored(&store, &key(7), 10).await;
    let path = folder.path().join("store/blobs").join(&key(7).0[..2]).join(&key(7).0);
    let found = fs::metadata(path).unwrap();
    assert_eq!((found.len(), found.permissions().mode() & 0o777), (10, 0o600));
}

// [ENG-7] no client text ever becomes a path
#[tokio::test]
async fn a_key_that_is_not_ours_reaches_no_file() {
    let (store, folder) = disk(Durability::Full);
    let outside = folder.path().join("outside");
    fs::write(&outside, b"mine").unwrap();
    let held = Durable { offset: Offset(0), state: Default::default() };
    for text in [
        "",
        "a",
        "../../../outside",
        "aa/../../../../../outside00000000",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "0123456789abcdef0123456789abcde",
        "0123456789abcdef0123456789abcdef0",
        "0123456789abcdef0123456789abcde/",
        "äääääääääääääääa",
    ] {
        let key = BlobKey(text.into());
        assert!(store.create(&key, None).await.is_err(), "{text}");
        assert!(store.resume(&key, &held, None).await.is_err(), "{text}");
        assert!(store.read(&key, 0..1).await.is_err(), "{text}");
        assert!(store.durable_length(&key, &held.state).await.is_err(), "{text}");
        assert!(store.delete(&key).await.is_err(), "{text}");
    }
    assert_eq!(fs::read(outside).unwrap(), b"mine");
}

#[tokio::test]
async fn what_is_no_blob_is_not_listed() {
    let (store, folder) = disk(Durability::Full);
    let shard = folder.path().join("store/blobs/00");
    for stray in ["notes.txt", "00", "0000000000000000000000000000000G"] {
        fs::write(shard.join(stray), b"").unwrap();
    }
    assert!(store.keys(0).await.unwrap().is_empty());
}

/// Bytes of the disk that a blob takes.
fn taken(folder: &tempfile::TempDir, key: &BlobKey) -> u64 {
    fs::metadata(folder.path().join("store/blobs").join(&key.0[..2]).join(&key.0)).unwrap().blocks() * 512
}

// [ENG-61]
#[tokio::test]
async fn a_byte_of_an_announced_gigabyte_holds_a_step_and_no_more() {
    const GIB: u64 = 1024 * 1024 * 1024;
    const MIB: u64 = 1024 * 1024;
    let (store, folder) = disk(Durability::Full);
    let mut writer = store.create(&key(1), Some(GIB)).await.unwrap();
    assert_eq!(taken(&folder, &key(1)), 0, "nothing has arrived");
    fill(&mut writer, 0..4_096, 4_096).await;
    assert!(taken(&folder, &key(1)) <= MIB + 64 * 1024, "{}", taken(&folder, &key(1)));
    fill(&mut writer, 4_096..3 * MIB, 65_536).await;
    assert!(taken(&folder, &key(1)) <= 7 * MIB, "no more ahead than what has come");
    writer.release().await;
    assert!(taken(&folder, &key(1)) <= 3 * MIB + 64 * 1024, "{}", taken(&folder, &key(1)));
    fill(&mut writer, 3 * MIB..3 * MIB + 10, 10).await;
    assert_eq!(sync(&mut writer).await.offset, Offset(3 * MIB + 10));
}

/// A store whose reserve leaves room for `bytes`.
fn nearly_full(bytes: u64) -> (DiskBlobs, tempfile::TempDir) {
    let (store, folder) = disk(Durability::Full);
    let free = store.room().unwrap();
    drop(store);
    let options =
        DiskOptions { reserve: free - bytes, ..options(folder.path().join("store"), Durability::Full) };
    (DiskBlobs::open(&options, Metrics::new()).unwrap(), folder)
}

// [ENG-62]
#[tokio::test]
async fn a_concatenation_without_room_or_told_to_stop_leaves_no_blob() {
    let (store, folder) = disk(Durability::Full);
    stored(&store, &key(1), 20_000_000).await;
    let parts = [(key(1), 20_000_000), (key(1), 20_000_000)];
    let stop = CancellationToken::new();
    stop.cancel();
    let booking = store.book(40_000_000).unwrap();
    assert!(store.concatenate(&key(2), &parts, booking, &stop).await.is_err());
    assert_eq!(listed(&store).await, 1, "the part alone");
    assert!(store.book(u64::MAX).unwrap_err().full);
    drop((store, folder));
    // Others write to the disk of the tests too, so that the room is a rough one.
    let (store, _folder) = nearly_full(0);
    assert!(store.book(1 << 30).unwrap_err().full);
}

async fn listed(store: &DiskBlobs) -> usize {
    let mut count = 0;
    for page in 0..store.pages() {
        count += store.keys(page).await.unwrap().len();
    }
    count
}

// [ENG-8] the disk reserve
#[tokio::test]
async fn room_counts_down_to_the_reserve() {
    let folder = tempfile::tempdir().unwrap();
    let open = |reserve| {
        let options = DiskOptions { reserve, ..options(folder.path().join("store"), Durability::Full) };
        DiskBlobs::open(&options, Metrics::new()).unwrap()
    };
    let free = open(0).room().expect("a disk has an end");
    assert!(free > 0);
    assert_eq!(open(u64::MAX).room(), Some(0));
    let half = open(free / 2).room().unwrap();
    assert!(half < free && half > 0, "{half} of {free}");
}

/// A killed server leaves a file that is longer than anyone was told; the reserve and the tail do no harm.
#[tokio::test]
async fn garbage_behind_the_durable_offset_is_cut_on_disk() {
    let (store, folder) = disk(Durability::Full);
    let held = stored(&store, &key(1), 1_000).await;
    let path = folder.path().join("store/blobs").join(&key(1).0[..2]).join(&key(1).0);
    let mut all = fs::read(&path).unwrap();
    all.extend_from_slice(&[0xee; 5_000]);
    fs::write(&path, all).unwrap();
    let store = Arc::new(store);
    let mut writer = store.resume(&key(1), &held, Some(2_000)).await.unwrap();
    fill(&mut writer, 1_000..2_000, 33).await;
    let _ = sync(&mut writer).await;
    assert_eq!(fs::read(&path).unwrap(), bytes(0..2_000));
}
