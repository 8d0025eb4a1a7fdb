//! Clients: what each asked for, what it sent, and how much of it the server has taken.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_util::stream::Stream;
use plimsoll::{
    engine::{
        Broken, Piece, Start, Write,
        digest::{Algorithm, Check, Claim, Running},
    },
    upload::{Name, Offset},
};
use tokio::time::Instant;

use super::{State, Style, World};
use crate::rules::{Verdict, judge};

/// Clients of one case; a byte carries its sender in six bits.
pub const MOST_CLIENTS: usize = 63;

const ALGORITHM: Algorithm = Algorithm::Crc32c;
/// A checksum that no body of these cases has.
const WRONG: [u8; 4] = [0x57; 4];

/// The byte that client `id` sends as byte `at` of the file.
pub fn code(id: usize, at: usize) -> u8 {
    u8::try_from(id).expect("a small number") << 2 | u8::try_from(at & 3).expect("two bits")
}

/// Who sent a byte.
pub fn sender(byte: u8) -> usize {
    usize::from(byte >> 2)
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fin {
    End,
    Break,
    /// A chunk that makes no sense.
    Malformed,
}

/// What a client claims of its bytes, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    None,
    /// In the head; a client that has not yet sent all when it begins claims something wrong.
    Head,
    WrongHead,
    Trailer,
    WrongTrailer,
    /// A trailer is announced and does not come.
    NoTrailer,
}

impl Promise {
    pub fn is_made(self) -> bool {
        self != Self::None
    }
}

#[derive(Debug)]
pub struct Client {
    pub name: Name,
    pub node: usize,
    pub write: Write,
    pub promise: Promise,
    /// Claimed in the head, of so many bytes.
    pub head_covers: Option<usize>,
    claim_sent: bool,
    /// What was pushed and not yet taken.
    queue: VecDeque<Bytes>,
    fin: Option<Fin>,
    waker: Option<Waker>,
    /// Bytes pushed.
    pub sent: usize,
    /// Bytes that the server has read.
    pub taken: usize,
    /// The end that the server has read.
    pub saw: Option<Fin>,
    /// What the rules said when the server first asked for bytes.
    pub accepted: Option<Verdict>,
    /// The order in which the server accepted the clients.
    pub turn: u64,
    /// The offset of the row at that moment.
    pub found: Option<u64>,
    /// Whether the server has let go of the body.
    pub dropped: bool,
    pub last_taken: Instant,
    /// What may end this writer before its body does.
    pub may: Allowed,
}

/// Endings that the client itself has not caused.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowed {
    pub superseded: bool,
    pub stopping: bool,
}

impl Client {
    pub fn new(name: Name, node: usize, write: Write, promise: Promise) -> Self {
        Self {
            name,
            node,
            write,
            promise,
            head_covers: None,
            claim_sent: false,
            queue: VecDeque::new(),
            fin: None,
            waker: None,
            sent: 0,
            taken: 0,
            saw: None,
            accepted: None,
            turn: 0,
            found: None,
            dropped: false,
            last_taken: Instant::now(),
            may: Allowed::default(),
        }
    }

    /// Where its first byte goes.
    pub fn start(&self) -> usize {
        match self.write.start {
            Start::Whole => 0,
            Start::At(Offset(at)) => usize::try_from(at).expect("small files"),
        }
    }

    pub fn is_whole(&self) -> bool {
        self.write.start == Start::Whole
    }

    /// Whether the server reads its body now.
    pub fn is_writing(&self) -> bool {
        self.accepted.is_some() && !self.dropped
    }

    pub fn is_over(&self) -> bool {
        self.fin.is_some()
    }

    /// What the engine is told of the claim at the beginning; everything that was pushed by now is covered.
    pub fn check(&mut self, id: usize) -> Check {
        match self.promise {
            Promise::None => Check::None,
            Promise::Head => {
                self.head_covers = Some(self.sent);
                Check::Claimed(self.claim(id, self.sent))
            }
            Promise::WrongHead => Check::Claimed(Claim { algorithm: ALGORITHM, value: WRONG.to_vec() }),
            Promise::Trailer | Promise::WrongTrailer | Promise::NoTrailer => Check::InTrailer,
        }
    }

    /// The checksum of the first `size` bytes.
    fn claim(&self, id: usize, size: usize) -> Claim {
        let from = self.start();
        let bytes: Vec<u8> = (from..from + size).map(|at| code(id, at)).collect();
        let mut running = Running::new(ALGORITHM);
        running.update(&bytes);
        Claim { algorithm: ALGORITHM, value: running.value() }
    }

    /// Whether what was read of the body, and of its end, bears the claim out.
    pub fn keeps_its_promise(&self) -> bool {
        match self.promise {
            Promise::None => true,
            Promise::Head => self.head_covers == Some(self.taken),
            Promise::Trailer => self.claim_sent,
            Promise::WrongHead | Promise::WrongTrailer | Promise::NoTrailer => false,
        }
    }

    /// What it is told when its claim decides.
    pub fn broken_promise(&self) -> &'static str {
        let is_in_trailer =
            matches!(self.promise, Promise::Trailer | Promise::WrongTrailer | Promise::NoTrailer);
        if is_in_trailer && !self.claim_sent { "checksum-missing" } else { "checksum-mismatch" }
    }

    /// Send pieces of these sizes, then perhaps the end. Nothing is sent after an end.
    pub fn push(&mut self, id: usize, sizes: &[u8], fin: Option<Fin>) {
        if self.fin.is_some() {
            return;
        }
        for size in sizes {
            let from = self.start() + self.sent;
            let piece: Vec<u8> = (from..from + usize::from(*size)).map(|at| code(id, at)).collect();
            self.sent += piece.len();
            self.queue.push_back(piece.into());
        }
        self.fin = fin;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// The body of one client, as the server reads it.
pub struct Body {
    world: Arc<World>,
    id: usize,
}

impl Body {
    pub fn new(world: &Arc<World>, id: usize) -> Self {
        Self { world: Arc::clone(world), id }
    }
}

impl Stream for Body {
    type Item = Result<Piece, Broken>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut st = self.world.state();
        if st.clients[self.id].accepted.is_none() {
            first_poll(&mut st, self.id);
        }
        let client = &mut st.clients[self.id];
        if let Some(piece) = client.queue.pop_front() {
            client.taken += piece.len();
            client.last_taken = Instant::now();
            return Poll::Ready(Some(Ok(Piece::Data(piece))));
        }
        if client.fin == Some(Fin::End)
            && !client.claim_sent
            && matches!(client.promise, Promise::Trailer | Promise::WrongTrailer)
        {
            client.claim_sent = true;
            let mut claim = client.claim(self.id, client.taken);
            if client.promise == Promise::WrongTrailer {
                claim.value = WRONG.to_vec();
            }
            return Poll::Ready(Some(Ok(Piece::Claim(claim))));
        }
        match client.fin {
            None => {
                client.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(fin) => {
                client.saw = Some(fin);
                Poll::Ready(match fin {
                    Fin::End => None,
                    Fin::Break => Some(Err(Broken)),
                    Fin::Malformed => Some(Ok(Piece::Malformed)),
                })
            }
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.world.state().clients[self.id].dropped = true;
    }
}

/// The server begins to read a body, so it has permitted the write: was it right to?
fn first_poll(st: &mut State, id: usize) {
    let (name, node, write) = {
        let client = &mut st.clients[id];
        client.last_taken = Instant::now();
        (client.name.clone(), client.node, client.write)
    };
    let row = st.rows.get(&name).cloned();
    let verdict = judge(row.as_ref(), &write, st.largest, None);
    // Another node may have changed the row since this one judged; the fence will tell.
    if st.style == Style::Files && !matches!(verdict, Verdict::Accepted(_)) {
        st.violation(format!("client {id} writes although the rules say {verdict:?}"));
    }
    let rival = st
        .clients
        .iter()
        .enumerate()
        .find(|(other, c)| *other != id && c.name == name && c.node == node && c.is_writing());
    if let Some((other, _)) = rival {
        st.violation(format!("[ENG-3] client {id} is read while client {other} still is"));
    }
    let turn = st.next();
    let client = &mut st.clients[id];
    client.turn = turn;
    client.accepted = Some(verdict);
    client.found = row.map(|row| row.offset.0);
}
