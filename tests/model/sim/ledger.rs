//! A ledger in memory, by the same contract as the real ones.

use std::sync::Arc;

use async_trait::async_trait;
use plimsoll::{
    clock::Timestamp,
    fault::{Component, Fault},
    ledger::{Advance, Ledger, Swap},
    upload::{BlobKey, Generation, Gone, Kind, Name, Offset, Phase, Upload},
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

    async fn bury(&self, name: &Name, seen: Generation, why: Gone, at: Timestamp) -> Result<Swap, Fault> {
        self.change(name, |row| {
            let row = row.filter(|r| r.generation == seen && !matches!(r.phase, Phase::Gone(_)))?;
            let mut next = row.clone();
            next.phase = Phase::Gone(why);
            next.generation = seen.next();
            next.updated_at = at;
            next.expires_at = None;
            Some(next)
        })
        .await
    }

    async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<Upload>, Fault> {
        self.look(|st| {
            let mut due: Vec<Upload> =
                st.rows.values().filter(|r| r.expires_at.is_some_and(|at| at <= now)).cloned().collect();
            due.sort_by_key(|row| row.expires_at);
            due.truncate(limit as usize);
            due
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

    async fn pending_finals(&self, part: Option<&Name>) -> Result<Vec<Upload>, Fault> {
        self.look(|st| {
            let is_asked = |row: &&Upload| match &row.kind {
                Kind::Final(parts) => {
                    row.phase == Phase::Receiving && part.is_none_or(|part| parts.contains(part))
                }
                Kind::Single | Kind::Partial => false,
            };
            st.rows.values().filter(is_asked).cloned().collect()
        })
        .await
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
