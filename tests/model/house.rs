//! Runs commands against the real engine over the simulated machine, and says what must come of each.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::TryStreamExt;
use plimsoll::{
    clock::{Clock, ManualClock, Timestamp},
    engine::{Engine, Error, Order, Outcome, Parts, Refusal, Settings, Start, Write, digest::Check},
    leases::{Leases, local::LocalLeases},
    telemetry::Metrics,
    upload::{About, Gone, Kind, Name, Offset, Phase, Upload},
};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::{
    rules::{Accepted, Verdict, judge},
    sim::{
        Delays, FaultPoint, Style, World,
        blobs::SimBlobs,
        client::{Body, Client, Fin, MOST_CLIENTS, Promise, sender},
        ledger::MemoryLedger,
        witness::{self, Entry},
    },
};

/// The complete lengths of the two names.
const LENGTHS: [u64; 2] = [24, 40];
const LARGEST: u64 = 64;
const BODY_GAP: Duration = Duration::from_secs(5);
const FENCE_TIMEOUT: Duration = Duration::from_secs(2);
const SILENT: Duration = Duration::from_millis(250);
pub const EXPIRES: Duration = Duration::from_hours(72);
pub const RETENTION: Duration = Duration::from_hours(100);
/// From here on waiting times out now and then, and less can be said of what must happen.
const SLOW: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
pub enum StartPick {
    Whole,
    /// Where the upload really goes on.
    Right,
    At(u8),
}

#[derive(Clone, Copy, Debug)]
pub enum BodyPick {
    /// Up to the file's end.
    Rest,
    Of(u8),
    Chunked,
}

#[derive(Clone, Copy, Debug)]
pub enum LengthPick {
    Right,
    Of(u8),
    Unknown,
}

/// What a client sends.
#[derive(Clone, Debug)]
pub struct Send {
    pub sizes: Vec<u8>,
    /// Then everything that is left of the announced body.
    pub rest: bool,
    pub fin: Option<Fin>,
}

/// A request to write.
#[derive(Clone, Debug)]
pub struct Request {
    pub name: usize,
    pub node: usize,
    pub start: StartPick,
    pub body: BodyPick,
    pub length: LengthPick,
    pub may_create: bool,
    pub promise: Promise,
    pub send: Send,
}

#[derive(Clone, Debug)]
pub enum Command {
    Open(Request),
    /// An upload of which no byte is there yet.
    Create {
        name: usize,
        node: usize,
        is_length_known: bool,
    },
    /// `back` counts clients from the youngest; it may be one whose request is long over.
    Push {
        back: usize,
        send: Send,
    },
    Head {
        name: usize,
        node: usize,
        may_end: bool,
    },
    Get {
        name: usize,
        node: usize,
        from: u8,
        to: u8,
    },
    Delete {
        name: usize,
        node: usize,
        complete_too: bool,
    },
    /// Connections and the calendar.
    Pass(Duration),
    /// The calendar alone.
    Skip(Duration),
    Sweep,
    SweepOrphans,
    Plant {
        point: FaultPoint,
        after: u32,
    },
    Slow(Delays),
    Lazy(bool),
    Room(Option<u64>),
    Crash(u64),
    Stop,
}

/// A command, and whether the next one follows at once, before anything had time to happen.
pub type Step = (Command, bool);

struct Node {
    engine: Engine,
    leases: Arc<LocalLeases>,
}

struct Pending {
    client: usize,
    handle: JoinHandle<Result<Outcome, Error>>,
    /// What the rules say, where the state at the time of the request is beyond doubt.
    expected: Option<Verdict>,
    fired: u32,
}

pub struct House {
    runtime: Option<Runtime>,
    world: Arc<World>,
    clock: Arc<ManualClock>,
    nodes: Vec<Node>,
    pending: Vec<Pending>,
    was_slow: bool,
    /// Whether anything ever took time of its own: then less of it is the client's silence than the house can see.
    was_delayed: bool,
    /// Whether something happened after which blobs may be left to the scan for orphans.
    may_litter: bool,
    tally: Tally,
}

/// How often each answer was given: proof that the cases reach what they are about.
pub type Tally = BTreeMap<&'static str, u64>;

fn metrics() -> Arc<Metrics> {
    static METRICS: OnceLock<Arc<Metrics>> = OnceLock::new();
    Arc::clone(METRICS.get_or_init(Metrics::new))
}

fn settings() -> Settings {
    Settings {
        max_size: LARGEST,
        checkpoint_bytes: 10,
        checkpoint_interval: Duration::from_secs(1),
        body_gap: BODY_GAP,
        fence_timeout: FENCE_TIMEOUT,
        silent_writer: SILENT,
        incomplete_expires: EXPIRES,
        least_rate: 0,
        max_parts: 1_000,
        partial_expires: EXPIRES,
        retention: Some(RETENTION),
        own_names: Some("/files".into()),
        forget_after: Duration::from_hours(24),
    }
}

fn name(index: usize) -> Name {
    Name(format!("/upload/{index}/файл \"{index}\""))
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
}

impl House {
    /// One node over files, or two nodes that share a ledger and an object store.
    pub fn new(nodes: usize) -> Self {
        let world = World::new(if nodes == 1 { Style::Files } else { Style::Parts });
        {
            let mut st = world.state();
            st.watched = true;
            st.largest = LARGEST;
        }
        let clock = Arc::new(ManualClock::new(Timestamp(1_700_000_000_000)));
        let mut house = Self {
            runtime: Some(runtime()),
            world,
            clock,
            nodes: Vec::new(),
            pending: Vec::new(),
            was_slow: false,
            was_delayed: false,
            may_litter: nodes > 1,
            tally: Tally::new(),
        };
        house.start(nodes);
        house
    }

    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.as_ref().expect("it runs").block_on(work)
    }

    fn start(&mut self, nodes: usize) {
        self.nodes = (0..nodes)
            .map(|_| {
                let leases = Arc::new(LocalLeases::new());
                let parts = Parts {
                    ledger: Arc::new(MemoryLedger(Arc::clone(&self.world))),
                    blobs: Arc::new(SimBlobs(Arc::clone(&self.world))),
                    leases: Arc::clone(&leases) as Arc<dyn Leases>,
                    clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
                    metrics: metrics(),
                };
                Node { engine: Engine::new(parts, settings()), leases }
            })
            .collect();
        let found = self.run(self.nodes[0].engine.recover()).expect("nothing is planted yet");
        let receiving = self.rows(|row| row.phase == Phase::Receiving).len() as u64;
        self.demand(found.lowered == 0, || "[ENG-2] recovery had to lower an offset".into());
        self.demand(found.receiving >= receiving, || "recovery did not look at every upload".into());
    }

    fn rows(&self, wanted: impl Fn(&Upload) -> bool) -> Vec<Upload> {
        self.world.state().rows.values().filter(|row| wanted(row)).cloned().collect()
    }

    fn row(&self, name: &Name) -> Option<Upload> {
        self.world.state().rows.get(name).cloned()
    }

    fn demand(&self, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            let text = text();
            self.world.state().violation(text);
        }
    }

    fn fired(&self) -> u32 {
        self.world.state().fired
    }

    /// Whether nothing was broken since `fired` was read, nothing times out, and no other node interferes.
    fn is_calm(&self, fired: u32) -> bool {
        self.fired() == fired && !self.was_slow && self.nodes.len() == 1
    }

    /// Run all steps, let every client end, and look for leaks.
    ///
    /// # Errors
    /// The violations, and the step after which they were seen.
    pub fn play(mut self, steps: &[Step]) -> Result<Tally, String> {
        for (at, (command, rush)) in steps.iter().enumerate() {
            self.step(command);
            if !rush {
                self.settle(Duration::from_millis(1));
            }
            self.verdict().map_err(|text| format!("after step {at} ({command:?}): {text}"))?;
        }
        self.finish();
        self.verdict().map_err(|text| format!("at the end: {text}"))?;
        Ok(self.tally)
    }

    fn verdict(&mut self) -> Result<(), String> {
        self.reap();
        // [ENG-9] what was superseded went with the commit of its successor, and what failed with its writer
        if !self.may_litter && self.pending.is_empty() {
            let strays = self.strays();
            self.demand(strays.is_empty(), || {
                format!("blobs that no row refers to were left behind: {strays:?}")
            });
        }
        let mut st = self.world.state();
        witness::inspect(&mut st);
        if st.violations.is_empty() { Ok(()) } else { Err(st.violations.join("\n")) }
    }

    fn settle(&self, time: Duration) {
        self.run(async { sleep(time).await });
    }

    fn step(&mut self, command: &Command) {
        if matches!(
            command,
            Command::Room(_) | Command::Sweep | Command::Delete { .. } | Command::Push { .. }
        ) {
            // What the rules say of a request that is still being judged may change under it.
            for p in &mut self.pending {
                if self.world.state().clients[p.client].accepted.is_none() {
                    p.expected = None;
                }
            }
        }
        match command {
            Command::Open(request) => self.open(request),
            Command::Create { name, node, is_length_known } => self.create(*name, *node, *is_length_known),
            Command::Push { back, send } => self.push(*back, send),
            Command::Head { name: index, node, may_end } => self.head(&name(*index), *node, *may_end),
            Command::Get { name: index, node, from, to } => self.get(&name(*index), *node, *from, *to),
            Command::Delete { name: index, node, complete_too } => {
                self.delete(&name(*index), *node, *complete_too);
            }
            Command::Pass(time) => {
                self.clock.advance(*time);
                self.settle(*time);
            }
            Command::Skip(time) => self.clock.advance(*time),
            Command::Sweep => self.sweep(),
            Command::SweepOrphans => self.sweep_orphans(),
            Command::Plant { point, after } => {
                self.may_litter = true;
                self.world.state().faults.push((*point, *after));
            }
            Command::Slow(delays) => {
                self.was_delayed |= !delays.write.max(delays.sync).max(delays.ledger).is_zero();
                self.was_slow |= delays.write.max(delays.sync).max(delays.ledger) >= SLOW;
                self.world.state().delays = *delays;
            }
            Command::Lazy(lazy) => self.world.state().lazy = *lazy,
            Command::Room(room) => self.world.state().room = *room,
            Command::Crash(seed) => {
                self.may_litter = true;
                self.crash(*seed);
            }
            Command::Stop => self.stop(),
        }
    }

    /// The client that the server reads now, when there is one and it has nothing in the pipe.
    fn writing(&self, name: &Name) -> Option<usize> {
        let st = self.world.state();
        st.clients.iter().position(|c| c.name == *name && c.is_writing())
    }

    /// The row as it will be when the present writer is made to end; `None` in the outer option when that cannot
    /// be said.
    fn foreseen(&self, name: &Name) -> Option<Option<Upload>> {
        let busy: Vec<usize> = self
            .pending
            .iter()
            .filter(|p| !p.handle.is_finished())
            .map(|p| p.client)
            .filter(|id| self.world.state().clients[*id].name == *name)
            .collect();
        let row = self.row(name);
        let st = self.world.state();
        let ids: Vec<usize> = match busy.as_slice() {
            [] => return Some(row),
            [id] if st.clients[*id].is_writing() && !st.clients[*id].is_over() => vec![*id],
            _ => return None,
        };
        let client = &st.clients[ids[0]];
        let Some(Verdict::Accepted(accepted)) = &client.accepted else { return None };
        if client.sent != client.taken || (client.start() + client.taken) as u64 > accepted.limit {
            return None;
        }
        let kept = kept(client, accepted);
        if client.promise.is_made() {
            // Nothing of it counts before its end.
            return (accepted.length != Some(kept)).then_some(row);
        }
        if client.taken == 0 && accepted.length != Some(kept) {
            return Some(row);
        }
        let mut row = row.unwrap_or_else(|| blank(name));
        row.offset = Offset(kept);
        row.length = accepted.length;
        if accepted.length == Some(kept) && (client.start() + client.taken) as u64 == kept {
            row.phase = Phase::Complete;
        }
        Some(Some(row))
    }

    fn open(&mut self, request: &Request) {
        let &Request { name: index, node, start, body, length, may_create, promise, ref send } = request;
        let id = self.world.state().clients.len();
        if id >= MOST_CLIENTS {
            return;
        }
        let key = name(index);
        let foreseen = self.foreseen(&key);
        let goes_on = match &foreseen {
            Some(row) => row.as_ref().map_or(0, |r| r.offset.0),
            None => self.row(&key).map_or(0, |r| r.offset.0),
        };
        let start = match start {
            StartPick::Whole => Start::Whole,
            StartPick::Right => Start::At(Offset(goes_on)),
            StartPick::At(at) => Start::At(Offset(u64::from(at))),
        };
        let from = if let Start::At(at) = start { at.0 } else { 0 };
        let body = match body {
            BodyPick::Rest => Some(LENGTHS[index].saturating_sub(from)),
            BodyPick::Of(size) => Some(u64::from(size)),
            BodyPick::Chunked => None,
        };
        let length = match length {
            LengthPick::Right => Some(LENGTHS[index]),
            LengthPick::Of(length) => Some(u64::from(length)),
            LengthPick::Unknown => None,
        };
        let write = Write { start, body, length, may_create };
        // What broke under an older writer of this upload may show in what this one finds.
        let rivals = self.pending.iter().filter(|p| self.world.state().clients[p.client].name == key);
        let fired = rivals.map(|p| p.fired).min().unwrap_or_else(|| self.fired());
        let expected =
            foreseen.filter(|_| self.is_calm(fired)).and_then(|row| self.expect(&key, row.as_ref(), &write));
        let guard = self.runtime.as_ref().expect("it runs").enter();
        {
            let mut st = self.world.state();
            for client in st.clients.iter_mut().filter(|c| c.name == key) {
                client.may.superseded = true;
            }
            let mut client = Client::new(key.clone(), node, write, promise);
            // Of two that are still being judged, the one that takes the lease later counts as the newer.
            client.may.superseded = self.pending.iter().any(|p| {
                let older = &st.clients[p.client];
                older.name == key && older.accepted.is_none()
            });
            st.clients.push(client);
        }
        self.push_to(id, send);
        let check = self.world.state().clients[id].check(id);
        let order =
            Order { name: key, write, about: About::default(), kind: Kind::Single, check, dialect: "model" };
        let engine = self.nodes[node].engine.clone();
        let source = Box::pin(Body::new(&self.world, id));
        let handle = tokio::spawn(async move { engine.write(order, source).await });
        drop(guard);
        self.pending.push(Pending { client: id, handle, expected, fired });
    }

    /// What the rules say of a write, given the row as the present writer will leave it. What is refused whatever
    /// that writer still commits is refused at once.
    fn expect(&self, key: &Name, foreseen: Option<&Upload>, write: &Write) -> Option<Verdict> {
        let room = self.world.state().room;
        let then = judge(foreseen, write, LARGEST, room);
        if self.writing(key).is_none() {
            return Some(then);
        }
        // Checkpoints of that writer may come in between.
        let between = foreseen.map(|row| Upload { phase: Phase::Receiving, ..row.clone() });
        let mut reasons = BTreeSet::new();
        for row in [self.row(key).as_ref(), between.as_ref()] {
            if let Verdict::Refused(words) = judge(row, write, LARGEST, room) {
                reasons.extend(words);
            }
        }
        let Verdict::Refused(now) = judge(self.row(key).as_ref(), write, LARGEST, room) else {
            return Some(match then {
                Verdict::Refused(then) => Verdict::Refused(then.union(&reasons).copied().collect()),
                Verdict::Accepted(_) | Verdict::Already => then,
            });
        };
        let may_pass = now.contains("offset-mismatch") || now.contains("unknown");
        match then {
            Verdict::Refused(then) => Some(Verdict::Refused(then.union(&reasons).copied().collect())),
            // Which of several reasons is named decides whether the older writer is waited for.
            _ if may_pass && now.len() > 1 => None,
            Verdict::Accepted(_) | Verdict::Already if may_pass => Some(then),
            Verdict::Accepted(_) | Verdict::Already => Some(Verdict::Refused(now)),
        }
    }

    fn create(&mut self, index: usize, node: usize, is_length_known: bool) {
        let key = name(index);
        // The server makes up the names of what it creates, so nobody else writes to them yet.
        if self.pending.iter().any(|p| self.world.state().clients[p.client].name == key) {
            return;
        }
        let fired = self.fired();
        let (before, room) = (self.row(&key), self.world.state().room);
        let length = is_length_known.then_some(LENGTHS[index]);
        let start = Start::At(Offset::ZERO);
        let write = Write { start, body: None, length, may_create: true };
        let order = Order {
            name: key.clone(),
            write,
            about: About::default(),
            kind: Kind::Single,
            check: Check::None,
            dialect: "model",
        };
        let created = self.run(self.nodes[node].engine.create(order));
        if !self.is_calm(fired) {
            return;
        }
        let fits = room.is_none_or(|room| room > 0 && room >= length.unwrap_or(0));
        let after = self.row(&key);
        let right = match &created {
            Ok(upload) => {
                before.is_none() && fits && after.as_ref() == Some(upload) && upload.length == length
            }
            Err(Error::Refused(Refusal::Complete)) => before.is_some() && after == before,
            Err(Error::Refused(Refusal::StorageFull)) => !fits && after == before,
            Err(_) => false,
        };
        self.demand(right, || format!("creation gave {created:?}; {before:?} became {after:?}"));
    }

    fn push(&mut self, back: usize, send: &Send) {
        let clients = self.world.state().clients.len();
        if let Some(id) = clients.checked_sub(back + 1) {
            let _guard = self.runtime.as_ref().expect("it runs").enter();
            self.push_to(id, send);
        }
    }

    fn push_to(&self, id: usize, send: &Send) {
        let mut st = self.world.state();
        let client = &mut st.clients[id];
        client.push(id, &send.sizes, None);
        if send.rest {
            let whole = LENGTHS.iter().zip(0..).find(|(_, i)| name(*i) == client.name).map_or(0, |(l, _)| *l);
            let all = client.write.body.unwrap_or(whole.saturating_sub(client.start() as u64));
            let rest = all.saturating_sub(client.sent as u64).min(u64::from(u8::MAX));
            client.push(id, &[u8::try_from(rest).expect("a byte")], None);
        }
        client.push(id, &[], send.fin);
    }

    fn head(&mut self, key: &Name, node: usize, may_end: bool) {
        let fired = self.fired();
        let busy: Vec<&Pending> =
            self.pending.iter().filter(|p| self.world.state().clients[p.client].name == *key).collect();
        // Alone, and nothing was broken under it.
        let is_sure = matches!(busy.as_slice(), [one] if self.is_calm(one.fired));
        let busy = !busy.is_empty();
        let writing = self.writing(key).filter(|id| self.world.state().clients[*id].node == node);
        let _guard = self.runtime.as_ref().expect("it runs").enter();
        let mut was_silent = false;
        let mut sure = Offset::ZERO;
        if let Some(id) = writing {
            let mut st = self.world.state();
            let client = &mut st.clients[id];
            let silent = client.last_taken.elapsed() >= SILENT;
            client.may.superseded |= may_end && silent;
            was_silent = may_end && silent && !self.was_delayed && client.sent == client.taken;
            if let Some(Verdict::Accepted(accepted)) = &client.accepted
                && client.taken > 0
                && is_sure
            {
                // [ENG-11] the last byte waits for the end of the body
                let all = kept(client, accepted);
                let is_told = accepted.length != Some(all) && !client.promise.is_made();
                sure = Offset(if is_told { all } else { 0 });
            }
        }
        let found = self.run(self.nodes[node].engine.state(key, may_end));
        if !self.is_calm(fired) {
            return;
        }
        let Ok(found) = found else {
            return self.demand(false, || format!("HEAD failed: {found:?}"));
        };
        let offset = found.as_ref().map_or(Offset::ZERO, |row| row.offset);
        // [ENG-3] a live writer is made to checkpoint, so all that it had received is reported
        // [ENG-11] unless the last byte came meanwhile, which waits for the end of the body
        let is_all_here = writing.is_some_and(|id| {
            let client = &self.world.state().clients[id];
            let Some(Verdict::Accepted(accepted)) = &client.accepted else { return false };
            accepted.length.is_some_and(|length| (client.start() + client.taken) as u64 >= length)
        });
        self.demand(is_all_here || offset >= sure, || {
            format!("HEAD reports {offset}, the server had received {sure}")
        });
        self.demand(found == self.row(key), || "HEAD reports what is not in the ledger".into());
        let ended = writing.is_none_or(|id| self.world.state().clients[id].dropped);
        self.demand(!was_silent || ended, || "[ENG-3] HEAD left a silent writer alone".into());
        if !busy {
            let held = self.nodes[node].leases.holder(key).is_some();
            self.demand(!held, || "a lease is held by nobody".into());
        }
    }

    fn get(&self, key: &Name, node: usize, from: u8, to: u8) {
        let fired = self.fired();
        // Retention holds from its moment on, before the sweeper comes.
        let phase = || {
            let is_due = |row: &Upload| is_due(row, self.clock.now());
            self.row(key).map(|row| match row.phase {
                Phase::Complete if is_due(&row) => Phase::Gone(Gone::Retention),
                phase @ (Phase::Receiving | Phase::Complete | Phase::Gone(_)) => phase,
            })
        };
        let before = phase();
        let engine = &self.nodes[node].engine;
        let found = self.run(engine.complete(key));
        // The row may change while it is looked up.
        let is = |wanted: fn(Option<Phase>) -> bool| wanted(before) || wanted(phase());
        let right = match &found {
            Ok(_) => is(|p| p == Some(Phase::Complete)),
            Err(Error::Refused(Refusal::Unknown)) => is(|p| p.is_none()),
            Err(Error::Refused(Refusal::Incomplete)) => is(|p| p == Some(Phase::Receiving)),
            Err(Error::Refused(Refusal::Gone(_))) => is(|p| matches!(p, Some(Phase::Gone(_)))),
            Err(Error::Fault(_)) => self.fired() != fired,
            Err(_) => false,
        };
        self.demand(right, || format!("[ENG-5] GET of {before:?} gave {found:?}"));
        let Ok(upload) = found else { return };
        let Some(entry) = self.world.state().promised(key).cloned() else {
            return self.demand(false, || format!("GET gave {upload:?}, which was never committed"));
        };
        let size = upload.offset.0;
        let from = u64::from(from).min(size);
        let to = u64::from(to).clamp(from, size);
        let bytes = self.run(async {
            let pieces = engine.read(&upload, from..to).await.ok()?;
            pieces.try_collect::<Vec<_>>().await.ok().map(|pieces| pieces.concat())
        });
        let range = usize::try_from(from).expect("small")..usize::try_from(to).expect("small");
        self.demand(bytes.as_deref() == entry.content.get(range), || {
            format!("GET {from}..{to} gave {bytes:?}")
        });
    }

    fn delete(&mut self, key: &Name, node: usize, complete_too: bool) {
        let fired = self.fired();
        let before = self.row(key);
        let rivals = self.pending.iter().any(|p| self.world.state().clients[p.client].name == *key);
        for client in self.world.state().clients.iter_mut().filter(|c| c.name == *key) {
            client.may.superseded = true;
        }
        let deleted = self.run(self.nodes[node].engine.delete(key, complete_too));
        if !self.is_calm(fired) {
            return;
        }
        let after = self.row(key);
        let phase = after.as_ref().map(|r| r.phase);
        let right = match &deleted {
            Ok(()) => {
                let freed = before.is_none_or(|b| !self.world.state().files.contains_key(&b.blob.0));
                phase == Some(Phase::Gone(Gone::Deleted)) && freed
            }
            Err(Error::Refused(Refusal::Unknown)) => after.is_none(),
            Err(Error::Refused(Refusal::Forbidden)) => phase == Some(Phase::Complete) && !complete_too,
            Err(Error::Refused(Refusal::Gone(_))) => {
                before.is_some_and(|b| matches!(b.phase, Phase::Gone(_)))
            }
            // A writer that asked earlier may take the lease later.
            Err(Error::Refused(Refusal::Superseded { .. })) => rivals,
            Err(_) => false,
        };
        self.demand(right, || format!("DELETE gave {deleted:?} and left {after:?}"));
    }

    fn sweep(&self) {
        let fired = self.fired();
        let now = self.clock.now();
        let before = self.rows(|_| true);
        let swept = self.run(self.nodes[0].engine.sweep());
        if !self.is_calm(fired) {
            return;
        }
        let swept = swept.unwrap_or_else(|e| panic!("no fault was planted: {e}"));
        let (mut expired, mut retired) = (0, 0);
        for row in before {
            let after = self.row(&row.name).expect("rows stay");
            let is_due = is_due(&row, now);
            let writing = self.pending.iter().any(|p| self.world.state().clients[p.client].name == row.name);
            let why = if row.phase == Phase::Complete { Gone::Retention } else { Gone::Expired };
            if after.phase == Phase::Gone(why) && row.phase != after.phase {
                *(if why == Gone::Expired { &mut expired } else { &mut retired }) += 1;
                let freed = !self.world.state().files.contains_key(&row.blob.0);
                self.demand(is_due && freed, || format!("the sweep took {row:?}, or left its bytes"));
            } else {
                self.demand(!is_due || writing, || format!("the sweep left {row:?}"));
            }
        }
        self.demand(swept.expired == expired && swept.retired == retired, || {
            format!("the sweep counts {swept:?}; {expired} expired and {retired} were retired")
        });
    }

    fn sweep_orphans(&self) {
        if self.nodes.len() > 1 {
            return;
        }
        let fired = self.fired();
        let orphans: BTreeSet<String> = {
            let st = self.world.state();
            let idle = st.files.iter().filter(|(_, file)| file.writers == 0);
            idle.map(|(key, _)| key.clone()).filter(|key| st.references(key).is_none()).collect()
        };
        let deleted = self.run(self.nodes[0].engine.sweep_orphans());
        // A writer that is about to end may drop its blob at the same time.
        if !self.is_calm(fired) || !self.pending.is_empty() {
            return;
        }
        let left: Vec<_> = {
            let st = self.world.state();
            orphans.iter().filter(|key| st.files.contains_key(*key)).cloned().collect()
        };
        self.demand(left.is_empty() && deleted.as_ref().is_ok_and(|n| *n == orphans.len() as u64), || {
            format!("of the orphans {orphans:?} the scan deleted {deleted:?} and left {left:?}")
        });
    }

    fn crash(&mut self, seed: u64) {
        let nodes = self.nodes.len();
        self.pending.clear();
        self.nodes.clear();
        // Every task ends where it stands.
        self.runtime = None;
        self.world.crash(seed);
        self.world.state().delays = Delays::default();
        self.runtime = Some(runtime());
        self.start(nodes);
    }

    fn stop(&mut self) {
        // As the server does it: no handler is left that has not yet spoken to the engine.
        self.settle(Duration::from_millis(1));
        for client in &mut self.world.state().clients {
            client.may.stopping = true;
        }
        self.run(async {
            for node in &self.nodes {
                node.engine.stop().await;
            }
        });
        self.settle(Duration::from_millis(1));
        self.reap();
        self.demand(self.pending.is_empty(), || "stopping did not end every writer".into());
        let mut st = self.world.state();
        st.closed = false;
        st.faults.clear();
        st.down = 0;
        drop(st);
        let nodes = self.nodes.len();
        self.nodes.clear();
        self.start(nodes);
    }

    /// Every client ends one way or another, in bounded time; then nothing may be left of them.
    fn finish(&mut self) {
        let longest = BODY_GAP + FENCE_TIMEOUT * 4 + Duration::from_secs(60);
        self.settle(longest);
        self.reap();
        self.demand(self.pending.is_empty(), || "a write never ended".into());
        for node in &self.nodes {
            self.demand(node.engine.writers() == 0, || "an append is still at work".into());
            for index in 0..LENGTHS.len() {
                self.demand(node.leases.holder(&name(index)).is_none(), || "a lease leaked".into());
            }
        }
        self.world.state().faults.clear();
        self.world.state().down = 0;
        self.sweep_orphans();
        for index in 0..LENGTHS.len() {
            self.get(&name(index), 0, 0, u8::MAX);
        }
        if self.nodes.len() == 1 {
            let strays = self.strays();
            self.demand(strays.is_empty(), || format!("blobs that nobody refers to stay: {strays:?}"));
        }
    }

    /// Blobs that no row refers to.
    fn strays(&self) -> Vec<String> {
        let st = self.world.state();
        st.files.keys().filter(|key| st.references(key).is_none()).cloned().collect()
    }

    fn reap(&mut self) {
        let (done, pending) =
            std::mem::take(&mut self.pending).into_iter().partition(|p| p.handle.is_finished());
        self.pending = pending;
        let done: Vec<Pending> = done;
        for p in done {
            let calm = self.is_calm(p.fired);
            let result = self.run(p.handle).expect("the handler does not panic");
            let guard = self.runtime.as_ref().expect("it runs").enter();
            *self.tally.entry(word(&result)).or_default() += 1;
            let told = self.answered(p.client, p.expected.as_ref(), &result, calm);
            drop(guard);
            if let Err(text) = told {
                let id = p.client;
                self.demand(false, || {
                    let client = format!("{:?}", self.world.state().clients[id]);
                    format!("client {id} was told {result:?}: {text}\n{client}")
                });
            }
        }
    }

    /// Judge what a client was told.
    fn answered(
        &self,
        id: usize,
        expected: Option<&Verdict>,
        result: &Result<Outcome, Error>,
        calm: bool,
    ) -> Result<(), String> {
        let st = self.world.state();
        let client = &st.clients[id];
        let ours: Vec<&Entry> = st.log.iter().filter(|e| e.name == client.name).collect();
        claimed(id, client, &ours, result, self.nodes.len() > 1)?;
        let word = word(result);
        if !calm {
            return Ok(());
        }
        let Some(Verdict::Accepted(accepted)) = &client.accepted else {
            return unread(client, expected, word);
        };
        if let Some(Verdict::Refused(_) | Verdict::Already) = expected {
            return Err(format!("the body was read, although the rules say {expected:?}"));
        }
        let allowed = endings(client, accepted);
        if !allowed.contains(&word) {
            return Err(format!("{word}, where only {allowed:?} is right"));
        }
        // [ENG-6] what the server had read is kept, to the last byte
        let kept = usize::try_from(kept(client, accepted)).expect("small");
        let is_complete = word == "complete-now";
        let is_overrun = (client.start() + client.taken) as u64 > accepted.limit;
        let is_unclear = is_overrun || client.saw == Some(Fin::Malformed);
        let is_clean = matches!(word, "complete-now" | "partial");
        if client.promise.is_made() && !is_clean {
            // [TUS-70] what bears no claim out is not kept
            let wrote = ours.iter().any(|e| e.content.last().is_some_and(|byte| sender(*byte) == id));
            return if wrote { Err("bytes were kept against their claim".into()) } else { Ok(()) };
        }
        if is_unclear && accepted.length == Some(kept as u64) && client.is_whole() {
            // [ENG-11] not the file it announced
            let wrong =
                ours.iter().any(|e| e.is_complete && e.content.last().is_some_and(|b| sender(*b) == id));
            return if wrong { Err("an over-long body became the file".into()) } else { Ok(()) };
        }
        if kept == client.start() && !is_complete {
            let wrote = ours.iter().any(|e| e.content.last().is_some_and(|byte| sender(*byte) == id));
            return if wrote { Err("bytes out of nothing".into()) } else { Ok(()) };
        }
        let is_kept = ours.iter().any(|e| {
            let last = kept > client.start();
            e.content.len() == kept
                && (!last || e.content.last().is_some_and(|byte| sender(*byte) == id))
                && (!is_complete || e.is_complete)
        });
        if is_kept { Ok(()) } else { Err(format!("[ENG-6] {kept} bytes should have been kept")) }
    }
}

/// One word for an answer.
fn word(result: &Result<Outcome, Error>) -> &'static str {
    match result {
        Ok(outcome) if outcome.is_complete => "complete-now",
        Ok(_) => "partial",
        Err(Error::Refused(refusal)) => refusal.word(),
        Err(Error::Fault(_)) => "fault",
    }
}

/// How far the file reaches with all that the server has read of this client.
fn kept(client: &Client, accepted: &Accepted) -> u64 {
    ((client.start() + client.taken) as u64).min(accepted.limit)
}

/// Whether the time of an upload has come, by its own end or by retention.
fn is_due(row: &Upload, now: Timestamp) -> bool {
    let ends = row.expires_at.is_some_and(|at| at <= now);
    let retires = row.completed_at.is_some_and(|at| at.plus(RETENTION) <= now);
    match row.phase {
        Phase::Receiving => ends,
        Phase::Complete => ends || retires,
        Phase::Gone(_) => false,
    }
}

fn blank(name: &Name) -> Upload {
    Upload {
        name: name.clone(),
        id: plimsoll::upload::UploadId(String::new()),
        phase: Phase::Receiving,
        generation: plimsoll::upload::Generation::FIRST,
        offset: Offset::ZERO,
        length: None,
        blob: plimsoll::upload::BlobKey(String::new()),
        blob_state: plimsoll::upload::BlobState::default(),
        kind: Kind::Single,
        about: About::default(),
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
        completed_at: None,
        expires_at: None,
    }
}

/// Whatever was planted: no answer may claim more than the ledger has promised.
fn claimed(
    id: usize,
    client: &Client,
    ours: &[&Entry],
    result: &Result<Outcome, Error>,
    has_rivals: bool,
) -> Result<(), String> {
    let held = match result {
        Ok(outcome) => Some(outcome.upload.offset),
        Err(Error::Refused(refusal)) => refusal.held(),
        Err(Error::Fault(_)) => None,
    };
    if let Some(Offset(held)) = held {
        let held = usize::try_from(held).expect("small");
        let wrote = client.accepted.is_some() && held > client.start() && client.found != Some(held as u64);
        let backed = ours.iter().any(|e| {
            let own = !wrote || has_rivals || e.content.get(held - 1).is_some_and(|byte| sender(*byte) == id);
            e.content.len() >= held && own
        });
        if held > 0 && !backed {
            return Err(format!("[ENG-1] {held} bytes are claimed and were never committed"));
        }
    }
    if let Ok(outcome) = result
        && outcome.is_complete
        && !ours.iter().any(|e| e.is_complete && e.content.len() as u64 == outcome.upload.offset.0)
    {
        return Err("[ENG-1] complete is claimed and was never committed".into());
    }
    Ok(())
}

/// The answer to a client whose body was not read.
fn unread(client: &Client, expected: Option<&Verdict>, word: &str) -> Result<(), String> {
    // A younger one that was faster may have changed everything.
    let right = match expected.filter(|_| !client.may.superseded) {
        Some(Verdict::Refused(words)) => words.contains(word),
        Some(Verdict::Already) => word == "complete-now",
        Some(Verdict::Accepted(_)) => false,
        None => !matches!(word, "fault" | "partial" | "busy"),
    };
    if right { Ok(()) } else { Err(format!("{word}, although the rules say {expected:?}")) }
}

/// What a client whose body was read may be told, nothing having failed.
fn endings(client: &Client, accepted: &Accepted) -> Vec<&'static str> {
    let words = endings_of_the_body(client, accepted);
    let is_clean = |word: &&str| matches!(*word, "complete-now" | "partial");
    if client.keeps_its_promise() || !words.iter().any(is_clean) {
        words
    } else {
        vec![client.broken_promise()]
    }
}

/// The same, whatever the client claims of its bytes.
fn endings_of_the_body(client: &Client, accepted: &Accepted) -> Vec<&'static str> {
    let reached = (client.start() + client.taken) as u64;
    if reached > accepted.limit {
        let unannounced = accepted.end.or(accepted.length).is_none();
        return vec![if unannounced { "too-large" } else { "overrun" }];
    }
    let whole = client.is_whole();
    match client.saw {
        Some(Fin::End) if accepted.end.is_some_and(|end| reached < end) => vec!["too-short"],
        Some(Fin::End) => match accepted.length {
            Some(length) if reached < length && whole => vec!["too-short"],
            Some(length) if reached < length => vec!["partial"],
            None if !whole => vec!["partial"],
            Some(_) | None => vec!["complete-now"],
        },
        Some(Fin::Malformed) => vec!["broken"],
        // All of it is here: that the connection goes a moment later changes nothing.
        _ if accepted.length == Some(reached) => vec!["complete-now"],
        Some(Fin::Break) => vec!["broken"],
        None => {
            let silent = Instant::now().duration_since(client.last_taken) >= BODY_GAP;
            let mut words = Vec::new();
            words.extend(client.may.superseded.then_some("superseded"));
            words.extend(client.may.stopping.then_some("stopping"));
            words.extend(silent.then_some("stalled"));
            words
        }
    }
}
