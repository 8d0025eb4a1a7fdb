//! The clients: a sender and a HEAD poller for each lane, and what they were told.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    Figures, Finished, add,
    common::{
        Random,
        http::{Answer, Conn},
        sha256,
        slots::Slot,
    },
};

/// One upload as its client knows it.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) slot: Slot,
    pub(crate) data: Vec<u8>,
    told: Mutex<Told>,
}

/// What a client was told, and how far it went.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    /// The largest offset in any answer.
    pub(crate) acknowledged: u64,
    /// The furthest byte that was given to a socket.
    pub(crate) sent: u64,
    /// A PUT from byte 0 was sent on top of an older attempt: offsets of that attempt no longer bind the server.
    pub(crate) restarting: bool,
    /// 201 was seen.
    pub(crate) complete: bool,
}

impl Upload {
    fn new(name: &str, random: &mut Random) -> Self {
        // As many small files as large ones: sizes are even on a logarithmic scale, 64 KiB to 4 MiB.
        let scale = random.within(0..6);
        let size = (64 << 10 << scale) + random.within(0..64 << 10 << scale);
        let data = random.bytes(size as usize);
        Self { slot: Slot::new(name, size), data, told: Mutex::default() }
    }

    pub(crate) fn told(&self) -> Told {
        *self.told.lock().unwrap()
    }

    pub(crate) fn size(&self) -> u64 {
        self.slot.size
    }

    fn tell(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.told.lock().unwrap());
    }

    /// The server told an offset; `before` is what was known when the question was sent.
    pub(crate) fn acknowledge(&self, offset: u64, before: Told) {
        self.tell(|told| {
            assert!(offset <= told.sent, "{}: told {offset}, sent {}", self.slot.path, told.sent);
            if before.restarting || told.restarting {
                return;
            }
            let known = before.acknowledged;
            assert!(offset >= known, "{}: told {offset} after {known} had been acknowledged", self.slot.path);
            told.acknowledged = told.acknowledged.max(offset);
        });
    }

    /// After a crash there is one attempt again, and the server's offset is its.
    pub(crate) fn settle(&self, offset: u64) {
        self.tell(|told| {
            told.restarting = false;
            told.acknowledged = offset;
        });
    }

    /// 201 was seen, or HEAD told that the file is complete.
    pub(crate) fn complete(&self, finished: &Mutex<Vec<Finished>>) {
        self.tell(|told| {
            assert_eq!(told.sent, self.size(), "{}: complete before all of it was sent", self.slot.path);
            assert!(!told.complete);
            told.complete = true;
        });
        finished.lock().unwrap().push(Finished {
            path: self.slot.path.clone(),
            size: self.size(),
            digest: sha256(&self.data),
        });
    }
}

/// One run of the server.
#[derive(Debug)]
pub(crate) struct Round<'a> {
    pub(crate) address: SocketAddr,
    /// The kill may have happened: broken connections are expected.
    pub(crate) dying: AtomicBool,
    /// The senders have ended.
    pub(crate) done: AtomicBool,
    /// Senders that have sent a head and not yet seen the answer.
    pub(crate) in_mid_body: AtomicU64,
    pub(crate) begins_new_ones: bool,
    pub(crate) finished: &'a Mutex<Vec<Finished>>,
    pub(crate) figures: &'a Figures,
}

impl Round<'_> {
    fn is_dying(&self) -> bool {
        self.dying.load(Ordering::SeqCst)
    }

    /// `None` when the server was killed; a connection that broke before that is a failure.
    #[track_caller]
    fn unless_killed<T>(&self, result: io::Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(_) if self.is_dying() => None,
            Err(e) => panic!("the server lives and the connection broke: {e}"),
        }
    }
}

/// A client that sends one file after the other.
#[derive(Debug)]
pub(crate) struct Lane {
    number: u64,
    files: u64,
    random: Random,
    current: Arc<Mutex<Arc<Upload>>>,
}

/// How the next request goes about it.
#[derive(Clone, Copy, Debug)]
enum Way {
    Whole,
    Range { first: u64, end: u64 },
}

impl Lane {
    pub(crate) fn new(number: u64, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let first = Arc::new(Upload::new(&format!("lane-{number}/0.bin"), &mut random));
        Self { number, files: 1, random, current: Arc::new(Mutex::new(first)) }
    }

    pub(crate) fn current(&self) -> Arc<Mutex<Arc<Upload>>> {
        Arc::clone(&self.current)
    }

    pub(crate) fn upload(&self) -> Arc<Upload> {
        Arc::clone(&self.current.lock().unwrap())
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.upload().told().complete
    }

    /// A poller's own choices.
    pub(crate) fn poller(&mut self) -> Random {
        Random::new(self.random.next())
    }

    /// Send until the server is killed, or this upload is complete and none shall follow.
    pub(crate) fn send(&mut self, round: &Round<'_>) {
        loop {
            let mut upload = self.upload();
            if upload.told().complete {
                if !round.begins_new_ones {
                    return;
                }
                let name = format!("lane-{}/{}.bin", self.number, self.files);
                self.files += 1;
                upload = Arc::new(Upload::new(&name, &mut self.random));
                *self.current.lock().unwrap() = Arc::clone(&upload);
            }
            if self.advance(round, &upload).is_none() {
                return;
            }
        }
    }

    /// One request that brings the upload further; `None` when the server was killed.
    fn advance(&mut self, round: &Round<'_>, upload: &Upload) -> Option<()> {
        let mut conn = round.unless_killed(Conn::open(round.address))?;
        let mut at = 0;
        if upload.told().sent > 0 {
            let before = upload.told();
            let answer = round.unless_killed(conn.query(&upload.slot))?;
            if answer.status == 201 {
                upload.complete(round.finished);
                return Some(());
            }
            at = answer.expect(308).offset().unwrap();
            upload.acknowledge(at, before);
        }
        let way = self.choose(upload, at);
        let (first, end) = match way {
            Way::Whole => (0, upload.size()),
            Way::Range { first, end } => (first, end),
        };
        if first > 0 {
            add(&round.figures.resumes, 1);
        } else if at > 0 {
            add(&round.figures.restarts, 1);
            upload.tell(|told| told.restarting = true);
        }
        add(&round.figures.chunks, 1);
        let before = upload.told();
        round.in_mid_body.fetch_add(1, Ordering::SeqCst);
        let answer = self.request(&mut conn, upload, way, &upload.data[first as usize..end as usize], round);
        if !round.is_dying() {
            round.in_mid_body.fetch_sub(1, Ordering::SeqCst);
        }
        self.judge(round, upload, &round.unless_killed(answer)?, end, before);
        Some(())
    }

    fn choose(&mut self, upload: &Upload, at: u64) -> Way {
        let size = upload.size();
        let fresh_whole = at == 0 && !self.random.once_in(3);
        let restart = at > 0 && at < size && self.random.once_in(20);
        if fresh_whole || restart {
            return Way::Whole;
        }
        let rest = size - at;
        assert!(rest > 0, "{}: the status query ends an upload whose bytes are all there", upload.slot.path);
        let wanted = if self.random.once_in(3) { rest } else { self.random.within(1..512 << 10) };
        Way::Range { first: at, end: at + wanted.min(rest) }
    }

    fn request(
        &mut self,
        conn: &mut Conn,
        upload: &Upload,
        way: Way,
        body: &[u8],
        round: &Round<'_>,
    ) -> io::Result<Answer> {
        let first = match way {
            Way::Whole => {
                conn.put(&upload.slot)?;
                0
            }
            Way::Range { first, end } => {
                conn.put_range(&upload.slot, first, end)?;
                first
            }
        };
        let hurries = self.random.once_in(8);
        let mut at = 0;
        while at < body.len() {
            let most = if hurries { 256 << 10 } else { 32 << 10 };
            let size = (self.random.within(1..most) as usize).min(body.len() - at);
            let end = at + size;
            upload.tell(|told| told.sent = told.sent.max(first + end as u64));
            conn.send(&body[at..end])?;
            add(&round.figures.sent, size as u64);
            at = end;
            if !hurries {
                thread::sleep(Duration::from_micros(self.random.within(500..12_000)));
            }
        }
        conn.answer()
    }

    fn judge(&self, round: &Round<'_>, upload: &Upload, answer: &Answer, end: u64, before: Told) {
        match answer.status {
            201 => {
                assert_eq!(end, upload.size(), "201 for a part of {}", upload.slot.path);
                upload.complete(round.finished);
            }
            308 => {
                assert!(end < upload.size(), "308 for the last part of {}", upload.slot.path);
                assert_eq!(answer.offset(), Some(end));
                assert_eq!(answer.header("range"), Some(format!("bytes=0-{}", end - 1).as_str()));
                upload.acknowledge(end, before);
            }
            // A HEAD that found this sender silent for long enough ended it.
            409 => {
                assert!(answer.text().contains("superseded"), "{}", answer.text());
                add(&round.figures.superseded, 1);
                upload.acknowledge(answer.offset().unwrap(), before);
            }
            _ => panic!("{}: {answer:?}", upload.slot.path),
        }
    }
}

/// Ask for the lane's offset again and again, in one lane of two with the credential.
pub(crate) fn poll(round: &Round<'_>, current: &Mutex<Arc<Upload>>, mut random: Random) {
    let may_end = random.once_in(2);
    let Ok(mut conn) = Conn::open(round.address) else { return };
    while !round.done.load(Ordering::SeqCst) && !round.is_dying() {
        let upload = Arc::clone(&current.lock().unwrap());
        let target = if may_end { &upload.slot.target } else { &upload.slot.path };
        let before = upload.told();
        let Some(answer) = round.unless_killed(conn.probe(target)) else { return };
        add(&round.figures.polls, 1);
        match answer.status {
            204 => upload.acknowledge(answer.offset().unwrap(), before),
            200 => assert_eq!(upload.told().sent, upload.size(), "{} is not complete", upload.slot.path),
            404 => assert_eq!(before.acknowledged, 0, "{} was known already", upload.slot.path),
            _ => panic!("{}: {answer:?}", upload.slot.path),
        }
        thread::sleep(Duration::from_millis(random.within(10..80)));
    }
}
