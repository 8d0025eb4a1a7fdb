//! Judges each change of the ledger at the moment it takes effect.

use plimsoll::upload::{Gone, Name, Phase, Upload};

use super::{
    State,
    client::{Fin, Promise, code, sender},
};

/// What the ledger promised at some moment.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: Name,
    pub is_complete: bool,
    /// The bytes below the offset.
    pub content: Vec<u8>,
}

impl State {
    /// What was last promised for a name.
    pub fn promised(&self, name: &Name) -> Option<&Entry> {
        self.log.iter().rev().find(|entry| entry.name == *name)
    }
}

pub fn observe(st: &mut State, before: Option<&Upload>, after: &Upload) {
    if !st.watched {
        return;
    }
    let name = after.name.0.clone();
    if let Err(text) = judge(st, before, after) {
        st.violation(format!("{name}: {text}"));
    }
}

fn judge(st: &mut State, before: Option<&Upload>, after: &Upload) -> Result<(), String> {
    if let Some(before) = before {
        if matches!(before.phase, Phase::Gone(_)) {
            return Err("a tombstone was changed".into());
        }
        if after.generation < before.generation {
            return Err("the generation went back".into());
        }
        if before.phase == Phase::Complete && !matches!(after.phase, Phase::Gone(_)) {
            return Err("[ENG-4] a complete upload was changed".into());
        }
        if before.length.is_some() && after.length != before.length {
            return Err("[ENG-8] the announced length was changed".into());
        }
    }
    if let Phase::Gone(why) = after.phase {
        // [ENG-80] the time of an incomplete upload says nothing of a complete one
        let was = before.map(|row| row.phase);
        return match (why, was) {
            (Gone::Expired, Some(Phase::Receiving)) | (Gone::Retention, Some(Phase::Complete)) => Ok(()),
            (Gone::Deleted, Some(_)) => Ok(()),
            _ => Err(format!("[ENG-4] removed as {} what was {was:?}", why.word())),
        };
    }
    let offset = usize::try_from(after.offset.0).expect("small files");
    // [ENG-1] [ENG-2]
    // An upload that was only created has no blob yet.
    let is_bare = offset == 0 && after.phase == Phase::Receiving;
    let held = st.durable(&after.blob.0, &after.blob_state).or(is_bare.then_some(0));
    let durable = held.ok_or("the row names a blob that is not there")?;
    if offset > durable {
        return Err(format!("[ENG-1] offset {offset} was committed with {durable} durable bytes"));
    }
    let content = st
        .content(&after.blob.0, &after.blob_state, offset)
        .or(is_bare.then(Vec::new))
        .ok_or_else(|| format!("[ENG-2] the blob is shorter than {offset}"))?;
    runs(st, &after.name, &content)?;
    if let Some(before) = before {
        let promised = st.promised(&after.name).map(|e| e.content.clone()).unwrap_or_default();
        if before.blob == after.blob {
            if !content.starts_with(&promised) {
                return Err(format!("promised bytes were lost: {promised:?} became {content:?}"));
            }
        } else {
            restarted(st, &promised, &content, after)?;
        }
    }
    let is_complete = after.phase == Phase::Complete;
    if is_complete {
        finished(st, before, after)?;
    }
    st.log.push(Entry { name: after.name.clone(), is_complete, content });
    Ok(())
}

/// Content is a chain of what clients sent: each run begins where its client said it would, is what that client
/// sent from its first byte on, is no longer than what the server has read of it, and follows an older client's.
fn runs(st: &State, name: &Name, content: &[u8]) -> Result<(), String> {
    let (mut at, mut last) = (0, None);
    while let Some(first) = content.get(at) {
        let id = sender(*first);
        let client = st.clients.get(id).filter(|c| c.name == *name);
        let client = client.ok_or_else(|| format!("[ENG-2] byte {at} was sent by nobody: {content:?}"))?;
        if client.start() != at {
            return Err(format!("[ENG-2] client {id} sent from {}, its bytes lie at {at}", client.start()));
        }
        if last.is_some_and(|last| last >= client.turn) {
            return Err(format!("client {id} continues a younger one"));
        }
        let from = at;
        while content.get(at).is_some_and(|byte| sender(*byte) == id) {
            if content[at] != code(id, at) {
                return Err(format!("[ENG-2] byte {at} of client {id} is not what was sent"));
            }
            at += 1;
        }
        let is_borne_out =
            client.keeps_its_promise() && (client.saw == Some(Fin::End) || client.promise == Promise::Head);
        if client.promise.is_made() && !is_borne_out {
            return Err(format!("bytes of client {id} were committed before its claim was seen to be right"));
        }
        if at - from > client.taken {
            return Err(format!("client {id} has more bytes in the file than it sent"));
        }
        last = Some(client.turn);
    }
    Ok(())
}

/// [ENG-9] another blob took the place of one: only byte 0 of a newer plain PUT does that.
fn restarted(st: &State, promised: &[u8], content: &[u8], after: &Upload) -> Result<(), String> {
    let id = match content.first() {
        Some(byte) => sender(*byte),
        None if after.phase == Phase::Complete || promised.is_empty() => return Ok(()),
        None => return Err(format!("{promised:?} was replaced by nothing")),
    };
    // An append to nothing begins a blob too.
    if !st.clients[id].is_whole() && !promised.is_empty() {
        return Err(format!("client {id} appended, and yet what was there is replaced"));
    }
    match promised.first() {
        Some(byte) if st.clients[sender(*byte)].turn >= st.clients[id].turn => {
            Err(format!("client {id} restarted a younger upload"))
        }
        Some(_) | None => Ok(()),
    }
}

/// Complete means that a body ended where the file ends.
fn finished(st: &State, before: Option<&Upload>, after: &Upload) -> Result<(), String> {
    let offset = usize::try_from(after.offset.0).expect("small files");
    let ended_there = st.clients.iter().any(|c| {
        let known = before.and_then(|b| b.length).or(c.write.length);
        let known = known.or(c.write.body.filter(|_| c.is_whole()));
        let reached = c.start() + c.taken;
        c.name == after.name
            && c.accepted.is_some()
            && (reached == offset || reached > offset && !c.is_whole())
            && !(c.is_whole() && c.saw == Some(Fin::Malformed))
            && c.keeps_its_promise()
            && (c.saw == Some(Fin::End) || known == Some(after.offset.0))
            && known.is_none_or(|known| known == after.offset.0)
    });
    if after.length != Some(after.offset.0) || !ended_there {
        return Err(format!("completed at {offset}, where no body ended"));
    }
    Ok(())
}

/// Everything that the ledger promises, compared with the disk as it is now.
pub fn inspect(st: &mut State) {
    let rows: Vec<Upload> =
        st.rows.values().filter(|r| !matches!(r.phase, Phase::Gone(_))).cloned().collect();
    for row in rows {
        let offset = usize::try_from(row.offset.0).expect("small files");
        let durable = st.durable(&row.blob.0, &row.blob_state).unwrap_or_default();
        let content = st.content(&row.blob.0, &row.blob_state, offset).or((offset == 0).then(Vec::new));
        let promised = st.promised(&row.name).map(|e| e.content.clone());
        if durable < offset || content.is_none() || content != promised {
            st.violation(format!(
                "{}: the ledger promises {promised:?}; {durable} bytes are durable, and the blob reads {content:?}",
                row.name.0
            ));
        }
    }
}
