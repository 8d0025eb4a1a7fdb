//! A store in memory that knows what a power cut would leave.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{
    future::BoxFuture,
    stream::{self, BoxStream},
};
use plimsoll::{
    blobs::{BlobWriter, Blobs, Booking, Durable},
    fault::{Component, Fault},
    upload::{BlobKey, BlobState, Offset},
};
use tokio_util::sync::CancellationToken;

use super::{Dice, FaultPoint, File, Style, World, pause};

#[derive(Clone, Debug)]
pub struct SimBlobs(pub Arc<World>);

fn fault(cause: impl Into<String>) -> Fault {
    Fault::new(Component::Blobs, "simulating", cause.into())
}

fn full() -> Fault {
    Fault { full: true, ..fault("no space is left") }
}

/// Bytes of a blob from which a writer meets the end of the room.
const ROOM_FROM: usize = 1024 * 1024;

fn lost(cause: &str) -> Fault {
    Fault::lost("simulating", cause)
}

struct SimWriter {
    world: Arc<World>,
    key: String,
    /// Where the next byte goes.
    end: usize,
    /// Whether it holds bytes back.
    lazy: bool,
    buffer: Vec<u8>,
    /// [`Style::Parts`]: everything below `end`, seen by this writer only.
    own: Vec<u8>,
}

impl SimWriter {
    fn open(world: &Arc<World>, key: &BlobKey, lazy: bool, own: Vec<u8>) -> Box<dyn BlobWriter> {
        let (world, key, end) = (Arc::clone(world), key.0.clone(), own.len());
        Box::new(Self { world, key, end, lazy, buffer: Vec::new(), own })
    }

    /// Hand bytes to the "kernel", at the writer's own position and never at the file's end.
    fn put(&mut self, data: &[u8]) -> Result<(), Fault> {
        let mut st = self.world.state();
        // [ENG-60] a store refuses what it has no room for; short bodies lie within what was promised before
        if st.room == Some(0) && self.end >= ROOM_FROM {
            return Err(full());
        }
        let is_full = st.trips(FaultPoint::WriteFull);
        let fails = is_full || st.trips(FaultPoint::WriteBroken);
        // A failed write may have written a part.
        let size =
            if fails { Dice(data.len() as u64).roll(data.len() as u64 + 1) as usize } else { data.len() };
        let style = st.style;
        let file = st.files.get_mut(&self.key).ok_or_else(|| fault("the blob is not there"))?;
        match style {
            Style::Files => {
                file.data.resize(file.data.len().max(self.end + size), 0);
                file.data[self.end..self.end + size].copy_from_slice(&data[..size]);
            }
            Style::Parts if fails => {}
            Style::Parts => self.own.extend_from_slice(data),
        }
        if fails {
            return Err(if is_full { full() } else { fault("planted, while writing") });
        }
        self.end += size;
        Ok(())
    }
}

impl Drop for SimWriter {
    fn drop(&mut self) {
        if let Some(file) = self.world.state().files.get_mut(&self.key) {
            file.writers = file.writers.saturating_sub(1);
        }
    }
}

#[async_trait]
impl BlobWriter for SimWriter {
    async fn write(&mut self, data: Bytes) -> Result<(), Fault> {
        let delay = self.world.state().delays.write;
        pause(delay).await;
        if self.lazy {
            self.buffer.extend_from_slice(&data);
            if self.buffer.len() < 16 {
                return Ok(());
            }
            let held = std::mem::take(&mut self.buffer);
            return self.put(&held);
        }
        self.put(&data)
    }

    async fn checkpoint(&mut self) -> Result<BoxFuture<'static, Result<Durable, Fault>>, Fault> {
        if !self.buffer.is_empty() {
            let held = std::mem::take(&mut self.buffer);
            self.put(&held)?;
        }
        let (world, key, end, own) = (Arc::clone(&self.world), self.key.clone(), self.end, self.own.clone());
        Ok(Box::pin(async move {
            let delay = world.state().delays.sync;
            pause(delay).await;
            let mut st = world.state();
            let fails = st.trips(FaultPoint::Sync);
            let (style, id) = (st.style, st.next());
            let file = st.files.get_mut(&key).ok_or_else(|| fault("the blob is not there"))?;
            let mut state = BlobState::default();
            match style {
                Style::Files if fails => {
                    let durable = file.durable();
                    if end > durable {
                        file.lost_from = Some(durable);
                    }
                }
                Style::Files => {
                    file.synced = file.synced.max(end);
                    file.named = true;
                }
                Style::Parts if fails => {}
                Style::Parts => {
                    state = BlobState(format!("part-{id}"));
                    file.parts.insert(state.0.clone(), own);
                }
            }
            if fails {
                return Err(fault("planted, while syncing"));
            }
            Ok(Durable { offset: Offset(end as u64), state })
        }))
    }

    async fn release(&mut self) {
        let mut st = self.world.state();
        if st.style == Style::Files
            && let Some(file) = st.files.get_mut(&self.key)
        {
            file.data.truncate(self.end);
        }
    }
}

#[async_trait]
impl Blobs for SimBlobs {
    async fn create(&self, key: &BlobKey, _length: Option<u64>) -> Result<Box<dyn BlobWriter>, Fault> {
        let delay = self.0.state().delays.write;
        pause(delay).await;
        let mut st = self.0.state();
        if st.trips(FaultPoint::Create) {
            return Err(fault("planted, while creating"));
        }
        let born = st.next();
        if st.files.contains_key(&key.0) {
            return Err(fault("the blob exists"));
        }
        st.files.insert(key.0.clone(), File { born, writers: 1, ..File::default() });
        Ok(SimWriter::open(&self.0, key, st.lazy, Vec::new()))
    }

    async fn resume(
        &self,
        key: &BlobKey,
        at: &Durable,
        _length: Option<u64>,
    ) -> Result<Box<dyn BlobWriter>, Fault> {
        let delay = self.0.state().delays.write;
        pause(delay).await;
        let mut st = self.0.state();
        if st.trips(FaultPoint::Resume) {
            return Err(fault("planted, while resuming"));
        }
        let offset = usize::try_from(at.offset.0).map_err(|e| fault(e.to_string()))?;
        let style = st.style;
        let mut second = false;
        let own = {
            let file = st.files.get_mut(&key.0).ok_or_else(|| lost("the blob is not there"))?;
            let own = match style {
                Style::Files => {
                    second = file.writers > 0;
                    let Some(held) = file.data.get(..offset).map(<[u8]>::to_vec) else {
                        return Err(lost("the blob is shorter than the ledger says"));
                    };
                    file.data.truncate(offset);
                    file.synced = file.synced.min(offset);
                    if file.lost_from.is_some_and(|lost| lost >= offset) {
                        file.lost_from = None;
                    }
                    held
                }
                Style::Parts if offset == 0 => Vec::new(),
                Style::Parts => {
                    let held = file.parts.get(&at.state.0).and_then(|part| part.get(..offset));
                    held.ok_or_else(|| lost("the state names no such part"))?.to_vec()
                }
            };
            file.writers += 1;
            own
        };
        if second {
            st.violation(format!("[ENG-3] two writers write the blob {} at once", key.0));
        }
        Ok(SimWriter::open(&self.0, key, st.lazy, own))
    }

    fn book(&self, bytes: u64) -> Result<Booking, Fault> {
        let room = self.0.state().room;
        if room.is_some_and(|room| room < bytes) { Err(full()) } else { Ok(Booking::default()) }
    }

    async fn concatenate(
        &self,
        key: &BlobKey,
        parts: &[(BlobKey, u64)],
        _booking: Booking,
        stop: &CancellationToken,
    ) -> Result<Durable, Fault> {
        let delay = self.0.state().delays.sync;
        tokio::select! {
            () = pause(delay) => {}
            () = stop.cancelled() => return Err(fault("it was told to stop")),
        }
        let mut st = self.0.state();
        if st.trips(FaultPoint::Create) {
            return Err(fault("planted, while concatenating"));
        }
        let mut all = Vec::new();
        for (part, length) in parts {
            let state = st.references(&part.0).map(|row| row.blob_state.clone()).unwrap_or_default();
            let length = usize::try_from(*length).map_err(|e| fault(e.to_string()))?;
            all.extend(st.content(&part.0, &state, length).ok_or_else(|| fault("a part is too short"))?);
        }
        let (style, born) = (st.style, st.next());
        let offset = Offset(all.len() as u64);
        let mut file = File { born, named: true, ..File::default() };
        let mut state = BlobState::default();
        match style {
            Style::Files => {
                file.synced = all.len();
                file.data = all;
            }
            Style::Parts => {
                state = BlobState(format!("part-{born}"));
                file.parts.insert(state.0.clone(), all);
            }
        }
        st.files.insert(key.0.clone(), file);
        Ok(Durable { offset, state })
    }

    async fn read(
        &self,
        key: &BlobKey,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, Fault>>, Fault> {
        let st = self.0.state();
        let state = st.references(&key.0).map(|row| row.blob_state.clone()).unwrap_or_default();
        let end = usize::try_from(range.end).map_err(|e| fault(e.to_string()))?;
        let start = usize::try_from(range.start).map_err(|e| fault(e.to_string()))?;
        if !st.files.contains_key(&key.0) {
            return Err(lost("the blob is not there"));
        }
        let piece =
            st.content(&key.0, &state, end).and_then(|all| all.get(start..).map(Bytes::copy_from_slice));
        // As with a file: opening succeeds, reading behind the end fails.
        let piece = piece.ok_or_else(|| fault("the range lies behind the end"));
        Ok(Box::pin(stream::iter([piece])))
    }

    async fn durable_length(&self, key: &BlobKey, state: &BlobState) -> Result<Option<u64>, Fault> {
        let st = self.0.state();
        let Some(file) = st.files.get(&key.0) else { return Ok(None) };
        let held = match st.style {
            Style::Files => file.data.len(),
            Style::Parts => file.parts.get(&state.0).map_or(0, Vec::len),
        };
        Ok(Some(held as u64))
    }

    async fn delete(&self, key: &BlobKey) -> Result<(), Fault> {
        let mut st = self.0.state();
        if st.trips(FaultPoint::Delete) {
            return Err(fault("planted, while deleting"));
        }
        if let Some(row) = st.references(&key.0) {
            let text = format!("[ENG-9] the blob of {} was deleted while its row refers to it", row.name.0);
            st.violation(text);
        }
        let Some(file) = st.files.remove(&key.0) else { return Ok(()) };
        if file.writers > 0 && st.style == Style::Files {
            st.violation(format!("the blob {} was deleted under its writer", key.0));
        }
        st.unlinked.push((key.0.clone(), File { writers: 0, ..file }));
        Ok(())
    }

    async fn keys(&self, page: u32) -> Result<Vec<BlobKey>, Fault> {
        let st = self.0.state();
        Ok(st.files.keys().filter(|key| page_of(key) == page).map(|key| BlobKey(key.clone())).collect())
    }

    fn pages(&self) -> u32 {
        256
    }

    async fn ready(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn room(&self) -> Option<u64> {
        self.0.state().room
    }
}

fn page_of(key: &str) -> u32 {
    key.get(..2).and_then(|shard| u32::from_str_radix(shard, 16).ok()).unwrap_or_default()
}
