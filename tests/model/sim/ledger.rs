//! A ledger in memory, by the same contract as the real ones.

use std::sync::Arc;

use async_trait::async_trait;
use plimsoll::{
    clock::Timestamp,
    fault::{Component, Fault},
    ledger::{Advance, Due, Extent, Ledger, Removal, Swap},
    upload::{About, BlobKey, BlobState, Generation, Kind, Name, Offset, Phase, Upload},
};

use super::{DOWN_FOR, FaultPoint, State, World, pause, witness};

#[derive(Clone, Debug)]
pub struct MemoryLedger(pub Arc<World>);

fn fault(cause: &str) -> Fault {
    Fault::new(Component::Ledger, "simulating", cause)
}

/// The same, of a change that was certainly not made.
fn unchanged(cause: &str) -> Fault {
    Fault { unchanged: true, ..fault(cause) }
}

/// What the schema's checks refuse.
fn admissible(row: &Upload) -> Result<(), Fault> {
    let fits = |n: u64| i64::try_from(n).is_ok();
    if !fits(row.offset.0) || row.length.is_some_and(|l| !fits(l) || l < row.offset.0) {
        return Err(fault("a size that the schema refuses"));
    }
    if row.phase == Phase::Complete && row.length != Some(row.offset.0) {
        return Err(fault("complete without being whole"));
    }
    Ok(())
}

impl MemoryLedger {
    /// Change one row. `alter` returns the new row, or `None` when the compare-and-set fails.
    async fn change(
        &self,
        name: &Name,
        alter: impl FnOnce(Option<&Upload>) -> Option<Upload> + Send,
    ) -> Result<Swap, Fault> {
        let delay = self.0.state().delays.ledger;
        pause(delay / 2).await;
        let swap = {
            let mut st = self.0.state();
            if st.closed {
                return Err(fault("it is closed"));
            }
            st.limbo = None;
            if st.down > 0 {
                st.down -= 1;
                st.fired += 1;
                return Err(unchanged("planted, the ledger is down"));
            }
            if st.trips(FaultPoint::LedgerDown) {
                st.down = DOWN_FOR;
                return Err(unchanged("planted, the ledger goes down"));
            }
            if st.trips(FaultPoint::LedgerBefore) {
                return Err(unchanged("planted, before the change"));
            }
            let before = st.rows.get(name).cloned();
            match alter(before.as_ref()) {
                None => Swap::Fenced,
                Some(after) => {
                    admissible(&after)?;
                    if st.trips(FaultPoint::LedgerLimbo) {
                        st.limbo = Some((before, after));
                        return Err(fault("planted, between the write and the sync of the change"));
                    }
                    witness::observe(&mut st, before.as_ref(), &after);
                    st.rows.insert(name.clone(), after);
                    if st.trips(FaultPoint::LedgerAfter) {
                        return Err(fault("planted, after the change"));
                    }
                    Swap::Done
                }
            }
        };
        pause(delay - delay / 2).await;
        Ok(swap)
    }

    async fn look<T>(&self, at: impl FnOnce(&mut State) -> T + Send) -> Result<T, Fault> {
        let delay = self.0.state().delays.ledger;
        pause(delay / 2).await;
        let mut st = self.0.state();
        if st.closed {
            return Err(fault("it is closed"));
        }
        // The connection that failed was opened anew, and proved by a commit that overwrote what the failed one left.
        st.limbo = None;
        if st.trips(FaultPoint::LedgerRead) {
            return Err(fault("planted, while reading"));
        }
        Ok(at(&mut st))
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn find(&self, name: &Name) -> Result<Option<Upload>, Fault> {
        self.look(|st| st.rows.get(name).cloned()).await
    }

    async fn record(&self, upload: Upload) -> Result<Swap, Fault> {
        let name = upload.name.clone();
        self.change(&name, |row| row.is_none().then_some(upload)).await
    }

    async fn fence(&self, name: &Name, seen: Generation, held: Offset) -> Result<Swap, Fault> {
        self.change(name, |row| {
            let row =
                row.filter(|r| r.generation == seen && r.offset == held && r.phase == Phase::Receiving)?;
            Some(Upload { generation: seen.next(), ..row.clone() })
        })
        .await
    }

    async fn advance(&self, p: Advance) -> Result<Swap, Fault> {
        let name = p.name.clone();
        self.change(&name, |row| {
            let row = row.filter(|r| r.generation == p.generation && r.phase == Phase::Receiving)?;
            let mut next = row.clone();
            next.offset = p.offset;
            next.length = p.length;
            next.phase = p.phase;
            next.blob = p.blob;
            next.blob_state = p.blob_state;
            next.about.content_type = p.content_type.or(next.about.content_type);
            next.updated_at = p.at;
            next.expires_at = p.expires_at;
            next.completed_at = (p.phase == Phase::Complete).then_some(p.at);
            Some(next)
        })
        .await
    }

    async fn tombstone(&self, removal: Removal) -> Result<Swap, Fault> {
        let name = removal.name.clone();
        self.change(&name, |row| {
            let row = row.filter(|r| {
                let is_as_seen = r.generation == removal.generation && r.phase == removal.phase;
                is_as_seen
                    && !matches!(r.phase, Phase::Gone(_))
                    && removal.due.is_none_or(|due| due.covers(r))
            })?;
            let mut next = row.clone();
            next.phase = Phase::Gone(removal.why);
            next.generation = row.generation.next();
            next.updated_at = removal.at;
            next.expires_at = removal.forget_at;
            next.kind = Kind::Single;
            next.about = About::default();
            next.blob_state = BlobState::default();
            Some(next)
        })
        .await
    }

    async fn forget(&self, now: Timestamp, limit: u32) -> Result<u64, Fault> {
        self.look(|st| {
            let is_over = |row: &&Upload| {
                matches!(row.phase, Phase::Gone(_)) && row.expires_at.is_some_and(|at| at <= now)
            };
            let mut names: Vec<(Option<Timestamp>, Name)> =
                st.rows.values().filter(is_over).map(|row| (row.expires_at, row.name.clone())).collect();
            names.sort();
            names.truncate(limit as usize);
            names.iter().filter(|(_, name)| st.rows.remove(name).is_some()).count() as u64
        })
        .await
    }

    async fn due(&self, due: Due, skip: u32, limit: u32) -> Result<Vec<Upload>, Fault> {
        let found = self
            .look(|st| {
                let mut found: Vec<Upload> =
                    st.rows.values().filter(|row| due.covers(row)).cloned().collect();
                found.sort_by_key(|row| match due {
                    Due::Expired(_) => row.expires_at,
                    Due::Retired(_) => row.completed_at,
                });
                found.into_iter().skip(skip as usize).take(limit as usize).collect()
            })
            .await;
        // What was read may be old news when the reader gets it.
        let delay = self.0.state().delays.ledger;
        pause(delay).await;
        found
    }

    async fn completed(&self, after: Option<Timestamp>, by: Timestamp) -> Result<Extent, Fault> {
        self.look(|st| {
            let in_time = |row: &&Upload| {
                row.phase == Phase::Complete
                    && row.completed_at.is_some_and(|at| at <= by && after.is_none_or(|after| at > after))
            };
            st.rows.values().filter(in_time).fold(Extent::default(), |sum, row| Extent {
                uploads: sum.uploads + 1,
                bytes: sum.bytes + row.offset.0,
            })
        })
        .await
    }

    async fn completed_since(&self, since: Timestamp, skip: u32, limit: u32) -> Result<Vec<Upload>, Fault> {
        self.look(|st| {
            let is_young = |row: &&Upload| {
                row.phase == Phase::Complete && row.completed_at.is_some_and(|at| at >= since)
            };
            let mut found: Vec<Upload> = st.rows.values().filter(is_young).cloned().collect();
            found.sort_by_key(|row| row.completed_at);
            found.into_iter().skip(skip as usize).take(limit as usize).collect()
        })
        .await
    }

    async fn receiving(&self, after: Option<&Name>, limit: u32) -> Result<Vec<Upload>, Fault> {
        self.look(|st| {
            let rows = st.rows.values().filter(|r| r.phase == Phase::Receiving);
            rows.filter(|r| after.is_none_or(|after| r.name > *after)).take(limit as usize).cloned().collect()
        })
        .await
    }

    async fn pending_finals(&self, part: &Name) -> Result<Vec<Upload>, Fault> {
        self.look(|st| {
            let is_open = |name: &Name| st.rows.get(name).is_some_and(|row| row.phase == Phase::Receiving);
            let is_asked = |row: &&Upload| match &row.kind {
                Kind::Final(parts) => {
                    row.phase == Phase::Receiving && parts.contains(part) && !parts.iter().any(is_open)
                }
                Kind::Single | Kind::Partial => false,
            };
            st.rows.values().filter(is_asked).cloned().collect()
        })
        .await
    }

    async fn note(&self, key: &str) -> Result<Option<String>, Fault> {
        self.look(|st| st.notes.get(key).cloned()).await
    }

    async fn take_note(&self, key: &str, value: &str) -> Result<(), Fault> {
        self.look(|st| st.notes.insert(key.to_owned(), value.to_owned())).await.map(drop)
    }

    async fn find_all(&self, names: &[Name]) -> Result<Vec<Upload>, Fault> {
        self.look(|st| st.rows.values().filter(|row| names.contains(&row.name)).cloned().collect()).await
    }

    async fn referenced(&self, blobs: &[BlobKey]) -> Result<Vec<BlobKey>, Fault> {
        self.look(|st| blobs.iter().filter(|b| st.references(&b.0).is_some()).cloned().collect()).await
    }

    async fn ping(&self) -> Result<(), Fault> {
        self.look(|_| ()).await
    }

    async fn close(&self) {
        self.0.state().closed = true;
    }
}
