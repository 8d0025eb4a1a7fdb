//! What is looked at after each kill.

use std::{collections::HashMap, path::Path, sync::Mutex};

use crate::{
    Figures, Finished, Lane, add,
    common::{
        Random,
        server::{Server, length_of},
        sha256,
        store::{self, Row},
    },
    senders::Upload,
};

/// Downloads after one kill stop at so many bytes, or the test would grow with the square of its rounds. The newest
/// files always belong to them, the rest is chosen by chance; the ledger's rows and sizes of all are looked at.
const DOWNLOADS: u64 = 16 << 20;

/// The server is dead and has mended nothing: the ledger against the blobs, and both against what clients were told.
pub(crate) fn at_rest(folder: &Path, lanes: &[Lane], finished: &[Finished], figures: &Figures) {
    let rows = store::rows_at_rest(folder);
    for lane in lanes {
        let upload = lane.upload();
        let row = rows.get(&upload.slot.path);
        one_upload(folder, &upload, row, figures);
        add(&figures.offsets_checked, 1);
    }
    for file in finished {
        let row = rows.get(&file.path).unwrap_or_else(|| panic!("{} was complete and is unknown", file.path));
        assert_eq!((row.phase.as_str(), row.offset, row.length), ("complete", file.size, Some(file.size)));
        let held = length_of(&store::blob_path(folder, &row.blob));
        assert_eq!(held, Some(file.size), "{} was complete", file.path);
    }
}

fn one_upload(folder: &Path, upload: &Upload, row: Option<&Row>, figures: &Figures) {
    let (path, told) = (&upload.slot.path, upload.told());
    let Some(row) = row else {
        assert!(
            told.acknowledged == 0 && !told.complete,
            "{path}: {told:?}, and the ledger knows nothing of it"
        );
        return;
    };
    let blob = std::fs::read(store::blob_path(folder, &row.blob))
        .unwrap_or_else(|e| panic!("{path}: {row:?} refers to a blob that cannot be read: {e}"));
    // [ENG-2] ledger <= bytes, and the bytes are the sender's
    assert!(row.offset <= blob.len() as u64, "{path}: {row:?}, on disk {}", blob.len());
    assert!(row.offset <= told.sent, "{path}: {row:?}, sent {}", told.sent);
    let offset = row.offset as usize;
    assert!(blob[..offset] == upload.data[..offset], "{path}: other bytes than the sender's below {offset}");
    add(&figures.bytes_compared, row.offset);
    // [ENG-1] what was told is kept
    assert!(told.restarting || row.offset >= told.acknowledged, "{path}: {row:?}, but {told:?}");
    assert!(!told.complete || row.phase == "complete", "{path}: {row:?}, but {told:?}");
    match row.phase.as_str() {
        "complete" => assert_eq!(row.offset, upload.size(), "{path}"),
        "receiving" => assert_eq!(row.length, Some(upload.size()), "{path}"),
        other => panic!("{path}: nobody deleted it, and it is {other}"),
    }
}

/// The server runs again: it tells the very offsets that the ledger had, and serves every finished file.
pub(crate) fn over_http(
    server: &Server,
    rows: &HashMap<String, Row>,
    lanes: &[Lane],
    finished: &Mutex<Vec<Finished>>,
    random: &mut Random,
    figures: &Figures,
) {
    for file in some_of(&finished.lock().unwrap(), random) {
        download(server, file, figures);
    }
    for lane in lanes {
        let upload = lane.upload();
        if upload.told().complete {
            continue;
        }
        let row = rows.get(&upload.slot.path);
        let offset = row.map_or(0, |row| row.offset);
        add(&figures.offsets_checked, 1);
        let mut conn = server.connect();
        if random.once_in(2) {
            by_head(&mut conn, &upload, row);
        } else {
            let answer = conn.query(&upload.slot).unwrap();
            if offset == upload.size() {
                // Every byte had arrived; only the answer had not.
                answer.expect(201);
                upload.settle(offset);
                upload.complete(finished);
                continue;
            }
            let answer = answer.expect(308);
            let range = (offset > 0).then(|| format!("bytes=0-{}", offset - 1));
            assert_eq!((answer.offset(), answer.header("range")), (Some(offset), range.as_deref()));
        }
        upload.settle(offset);
    }
}

fn by_head(conn: &mut crate::common::http::Conn, upload: &Upload, row: Option<&Row>) {
    let answer = conn.probe(&upload.slot.path).unwrap();
    match row {
        None => drop(answer.expect(404)),
        Some(row) if row.phase == "complete" => {
            let size = upload.size().to_string();
            assert_eq!(answer.expect(200).header("content-length"), Some(size.as_str()));
        }
        Some(row) => assert_eq!(answer.expect(204).offset(), Some(row.offset), "{}", upload.slot.path),
    }
}

/// The newest files first, then others by chance, up to [`DOWNLOADS`].
fn some_of<'a>(finished: &'a [Finished], random: &mut Random) -> Vec<&'a Finished> {
    let mut order: Vec<&Finished> = finished.iter().rev().collect();
    for at in 16..order.len() {
        let other = random.within(at as u64..order.len() as u64) as usize;
        order.swap(at, other);
    }
    let mut left = DOWNLOADS;
    order.retain(|file| {
        let fits = file.size <= left;
        left -= if fits { file.size } else { 0 };
        fits
    });
    order
}

/// GET and compare.
pub(crate) fn download(server: &Server, file: &Finished, figures: &Figures) {
    let answer = server.connect().get(&file.path).unwrap().expect(200);
    assert_eq!(answer.body.len() as u64, file.size);
    assert_eq!(sha256(&answer.body), file.digest, "{} is not what was sent", file.path);
    add(&figures.downloads, 1);
}
