//! Everything that was acknowledged, against what the disk holds and what the server says.

use std::{path::Path, sync::Arc};

use crate::{
    clients::{probe, resume, told},
    common::{Random, server::Server, store},
    uploads::{Kind, Run, Upload, add},
};

/// The server is dead: the ledger's rows and the blobs, against what clients were told.
pub(crate) fn at_rest(run: &Run<'_>, folder: &Path, uploads: &[Arc<Upload>]) {
    let rows = store::rows_at_rest(folder);
    for upload in uploads {
        if let Err(text) = one_at_rest(run, folder, upload, rows.get(&upload.path)) {
            run.complain(format!("at rest: {}: {text}, {:?}", upload.path, upload.known()));
        }
    }
}

fn one_at_rest(
    run: &Run<'_>,
    folder: &Path,
    upload: &Upload,
    row: Option<&store::Row>,
) -> Result<(), String> {
    let known = upload.known();
    let exists = upload.is_tus() || known.acknowledged.is_some_and(|offset| offset > 0) || known.complete;
    let Some(row) = row else {
        let may_be_missing = known.acknowledged.is_none() || !exists || known.restarting;
        return if may_be_missing { Ok(()) } else { Err("no row".to_owned()) };
    };
    add(&run.figures.offsets_compared, 1);
    if row.phase == "deleted" {
        let given_up = upload.kind == Kind::Final && !known.complete;
        return if known.delete_sent || given_up { Ok(()) } else { Err("deleted by nobody".to_owned()) };
    }
    if known.deleted {
        return Err(format!("deleted, but {row:?}"));
    }
    if known.complete && row.phase != "complete" {
        return Err(format!("complete, but {row:?}"));
    }
    if !known.restarting && known.acknowledged.is_some_and(|offset| row.offset < offset) {
        return Err(format!("acknowledged, but {row:?}"));
    }
    if row.offset > known.sent {
        return Err(format!("never sent, but {row:?}"));
    }
    if row.offset == 0 {
        return Ok(());
    }
    let blob = std::fs::read(store::blob_path(folder, &row.blob)).map_err(|e| format!("{row:?}: {e}"))?;
    let offset = row.offset as usize;
    if blob.len() < offset {
        return Err(format!("{row:?}, and {} bytes on disk", blob.len()));
    }
    if let Some(at) = (0..offset).find(|&at| blob[at] != upload.data[at]) {
        return Err(format!("{row:?}, and another byte at {at}"));
    }
    add(&run.figures.bytes_compared, row.offset);
    Ok(())
}

/// A healthy server: HEAD and GET of each upload, and those that are incomplete go on to their end, by chance.
pub(crate) fn over_http(run: &Run<'_>, server: &Server, uploads: &[Arc<Upload>], random: &mut Random) {
    for upload in uploads {
        if let Err(text) = one_over_http(run, server, upload, random.once_in(2)) {
            run.complain(format!("over HTTP: {}: {text}, {:?}", upload.path, upload.known()));
        }
    }
}

fn one_over_http(run: &Run<'_>, server: &Server, upload: &Upload, goes_on: bool) -> Result<(), String> {
    let broken = |e: std::io::Error| format!("the connection broke: {e}");
    let before = upload.known();
    let answer = probe(&mut server.connect(), upload).map_err(broken)?;
    add(&run.figures.offsets_compared, 1);
    if before.deleted {
        let is_gone = matches!(answer.status, 404 | 410);
        return if is_gone { Ok(()) } else { Err(format!("deleted, but {answer:?}")) };
    }
    if !matches!(answer.status, 200 | 204 | 404 | 410) {
        return Err(format!("{answer:?}"));
    }
    let offset = told(run, upload, &answer, before);
    if matches!(answer.status, 404 | 410) {
        upload.know(|known| known.deleted |= known.delete_sent && answer.status == 410);
        return Ok(());
    }
    if upload.known().complete {
        return compare(run, server, upload);
    }
    if before.complete {
        return Err(format!("complete, but {answer:?}"));
    }
    let Some(offset) = offset.filter(|_| upload.kind != Kind::Final) else { return Ok(()) };
    // There is one attempt again, and this is its offset.
    upload.know(|known| (known.restarting, known.acknowledged) = (false, Some(offset)));
    if !goes_on || (!upload.is_tus() && offset == upload.size()) {
        return Ok(());
    }
    let answer = resume(run, upload, offset).map_err(broken)?;
    if answer.status != if upload.is_tus() { 204 } else { 201 } {
        return Err(format!("resumed at {offset}: {answer:?}"));
    }
    add(&run.figures.resumed, 1);
    run.complete(upload);
    compare(run, server, upload)
}

fn compare(run: &Run<'_>, server: &Server, upload: &Upload) -> Result<(), String> {
    if upload.kind == Kind::Part {
        return Ok(());
    }
    let answer = server.connect().get(&upload.path).map_err(|e| format!("GET: {e}"))?;
    if answer.status != 200 || answer.body != upload.data {
        let at = (0..answer.body.len()).find(|&at| answer.body.get(at) != upload.data.get(at));
        return Err(format!("GET {}, {} bytes, first other byte {at:?}", answer.status, answer.body.len()));
    }
    add(&run.figures.files_compared, 1);
    add(&run.figures.bytes_compared, upload.size());
    Ok(())
}
