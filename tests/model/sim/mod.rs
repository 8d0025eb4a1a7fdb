//! A machine that can be inspected, slowed down, broken and switched off: disk, ledger, and the clients that send.
//!
//! Everything that survives a crash lives in one [`State`] behind one mutex, so that a change of the ledger is
//! judged against the disk at the very moment it takes effect.
#![allow(dead_code, reason = "each test program uses a part of the simulator")]

pub mod blobs;
pub mod client;
pub mod ledger;
pub mod witness;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use plimsoll::upload::{BlobState, Name, Phase, Upload};

use client::Client;
use witness::Entry;

/// How the store keeps bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// One file a blob, as on a local disk: whoever writes changes what the others see.
    Files,
    /// Immutable parts, as in object storage: a checkpoint's state names what it holds.
    Parts,
}

/// Where a failure can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultPoint {
    Create,
    Resume,
    WriteFull,
    WriteBroken,
    /// A failed sync: what was dirty stays readable and will never reach the disk.
    Sync,
    Delete,
    LedgerRead,
    /// The change does not take effect, and the caller learns of a failure.
    LedgerBefore,
    /// The change takes effect, and the caller learns of a failure all the same.
    LedgerAfter,
    /// This change and the next ones do not take effect: the file cannot be written for a while.
    LedgerDown,
    /// The change does not take effect, unless the power goes before the next use of the ledger: its sync failed, and
    /// what it wrote lies where a crash may find it.
    LedgerLimbo,
}

/// Changes that fail once the ledger is down.
pub const DOWN_FOR: u32 = 4;

/// How long things take.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delays {
    pub write: Duration,
    pub sync: Duration,
    pub ledger: Duration,
}

/// One blob.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// What a reader sees.
    pub data: Vec<u8>,
    /// Bytes that a successful sync covered.
    pub synced: usize,
    /// Bytes from here on were dropped by a failed sync, although a reader sees them.
    pub lost_from: Option<usize>,
    /// Whether the folder entry was synced.
    pub named: bool,
    /// Open writers.
    pub writers: usize,
    /// [`Style::Parts`]: what each state holds.
    pub parts: BTreeMap<String, Vec<u8>>,
    /// Order of creation; keys are random, and a case must run the same way twice.
    pub born: u64,
}

impl File {
    pub fn durable(&self) -> usize {
        self.synced.min(self.lost_from.unwrap_or(usize::MAX))
    }
}

#[derive(Debug)]
pub struct State {
    pub style: Style,
    /// Whether writers hold bytes back until a checkpoint, as a slow disk makes them do.
    pub lazy: bool,
    pub files: BTreeMap<String, File>,
    /// Deleted since the last crash: the folder was not synced, so they may come back.
    pub unlinked: Vec<(String, File)>,
    pub rows: BTreeMap<Name, Upload>,
    /// What the server noted for its next run.
    pub notes: BTreeMap<String, String>,
    /// The row that a crash would bring, and what it would take the place of.
    pub limbo: Option<(Option<Upload>, Upload)>,
    /// Changes that are still to fail.
    pub down: u32,
    pub closed: bool,
    pub clients: Vec<Client>,
    pub log: Vec<Entry>,
    /// Whether changes of the ledger are judged; off for contract tests, which have no clients.
    pub watched: bool,
    pub violations: Vec<String>,
    pub faults: Vec<(FaultPoint, u32)>,
    pub fired: u32,
    pub delays: Delays,
    pub room: Option<u64>,
    pub largest: u64,
    counter: u64,
}

impl State {
    pub fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    pub fn violation(&mut self, text: impl Into<String>) {
        self.violations.push(text.into());
    }

    /// Whether a planted failure is due at this point.
    pub fn trips(&mut self, point: FaultPoint) -> bool {
        let Some(at) = self.faults.iter().position(|(p, _)| *p == point) else { return false };
        if self.faults[at].1 > 0 {
            self.faults[at].1 -= 1;
            return false;
        }
        self.faults.remove(at);
        self.fired += 1;
        true
    }

    /// Bytes that a power cut would leave of a blob, as the row that names `state` would resume it.
    pub fn durable(&self, key: &str, state: &BlobState) -> Option<usize> {
        let file = self.files.get(key)?;
        match self.style {
            Style::Files => Some(file.durable()),
            Style::Parts => Some(file.parts.get(&state.0).map_or(0, Vec::len)),
        }
    }

    /// The first `size` bytes of a blob.
    pub fn content(&self, key: &str, state: &BlobState, size: usize) -> Option<Vec<u8>> {
        let file = self.files.get(key)?;
        let all = match self.style {
            Style::Files => Some(&file.data),
            Style::Parts if size == 0 => return Some(Vec::new()),
            Style::Parts => file.parts.get(&state.0),
        };
        all.and_then(|all| all.get(..size)).map(<[u8]>::to_vec)
    }

    pub fn references(&self, key: &str) -> Option<&Upload> {
        self.rows.values().find(|row| row.blob.0 == key && !matches!(row.phase, Phase::Gone(_)))
    }
}

#[derive(Debug)]
pub struct World(Mutex<State>);

impl World {
    pub fn new(style: Style) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            style,
            lazy: false,
            files: BTreeMap::new(),
            unlinked: Vec::new(),
            rows: BTreeMap::new(),
            notes: BTreeMap::new(),
            limbo: None,
            down: 0,
            closed: false,
            clients: Vec::new(),
            log: Vec::new(),
            watched: false,
            violations: Vec::new(),
            faults: Vec::new(),
            fired: 0,
            delays: Delays::default(),
            room: None,
            largest: u64::MAX,
            counter: 0,
        })))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("a test thread panicked while it held the world")
    }

    /// The power goes. What was not synced may be there, or in part, or as garbage, or not at all.
    pub fn crash(&self, seed: u64) {
        let mut dice = Dice(seed);
        let mut st = self.state();
        st.faults.clear();
        st.down = 0;
        st.closed = false;
        if let Some((before, after)) = st.limbo.take() {
            witness::observe(&mut st, before.as_ref(), &after);
            st.rows.insert(after.name.clone(), after);
        }
        let unlinked = std::mem::take(&mut st.unlinked);
        for (key, file) in unlinked {
            if dice.roll(4) == 0 {
                st.files.entry(key).or_insert(file);
            }
        }
        let mut files: Vec<_> = std::mem::take(&mut st.files).into_iter().collect();
        files.sort_by_key(|(_, file)| file.born);
        for (key, mut file) in files {
            file.writers = 0;
            let durable = file.durable().min(file.data.len());
            if !file.named && st.style == Style::Files && dice.roll(2) == 0 {
                continue;
            }
            let kept_lost = file.lost_from.take().is_some();
            match dice.roll(4) {
                0 => file.data.truncate(durable),
                1 if !kept_lost => {}
                1 | 2 => {
                    let tail = file.data.len() - durable;
                    let kept = dice.roll(tail as u64 + 1) as usize;
                    file.data.truncate(durable + kept);
                    if kept_lost {
                        file.data[durable..].fill(GARBAGE);
                    }
                }
                _ => {
                    let grown = file.data.len() + dice.roll(12) as usize;
                    file.data.truncate(durable);
                    file.data.resize(grown, GARBAGE);
                }
            }
            file.synced = durable;
            file.named = true;
            st.files.insert(key, file);
        }
    }
}

/// What a torn tail reads as: the code of no client.
pub const GARBAGE: u8 = 0xff;

/// A small generator (splitmix64), so that a crash is part of the case and shrinks with it.
pub struct Dice(pub u64);

impl Dice {
    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

pub async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}
