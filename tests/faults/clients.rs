//! The clients: plain and ranged PUT, tus with checksums, deferred lengths and DELETE, concatenation, restarts, polls,
//! and connections that are cut at any byte.

use std::{
    io::{self, ErrorKind},
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    thread,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::{
    common::{
        Random,
        http::{Answer, Conn},
        slots::Slot,
    },
    uploads::{Kind, Known, Run, Upload},
};

const TUS: (&str, &str) = ("Tus-Resumable", "1.0.0");
const PAUSE: Duration = Duration::from_millis(20);

/// A client that does one thing after the other until the run ends.
pub(crate) struct Client<'a> {
    pub(crate) run: &'a Run<'a>,
    pub(crate) random: Random,
}

/// How a body is sent.
#[derive(Clone, Copy, Debug, Default)]
struct Sending {
    /// The connection is cut after so many bytes.
    cut: Option<usize>,
    is_slow: bool,
}

/// An answer, or the reason why there is none: None stands for a connection that was cut on purpose.
type Answered = io::Result<Option<Answer>>;

impl Client<'_> {
    pub(crate) fn work(mut self) {
        while !self.run.has_ended() {
            let done = match self.random.within(0..12) {
                0..=2 => self.plain(),
                3 | 4 => self.ranged(false),
                5 => self.ranged(true),
                6 | 7 => self.tus(Kind::Tus).map(drop),
                8 | 9 => self.concatenate(),
                10 => self.restart(),
                _ => self.watched(),
            };
            let Err(why) = done else { continue };
            let waited = matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            if waited && !self.run.is_off.load(Ordering::SeqCst) {
                self.run.complain(format!("a request was never answered: {why}"));
            }
            thread::sleep(PAUSE);
        }
    }

    fn connect(&self) -> io::Result<Conn> {
        Conn::open(self.run.address)
    }

    fn one_of(&mut self, sizes: &[u64]) -> usize {
        sizes[self.random.within(0..sizes.len() as u64) as usize] as usize
    }

    fn slot(&mut self, sizes: &[u64]) -> (Slot, Arc<Upload>) {
        let size = self.one_of(sizes);
        let slot = Slot::new(&format!("{:016x}/file.bin", self.random.next()), size as u64);
        let data = self.random.bytes(size);
        let upload = self.run.keep(Upload::slot(&slot, data));
        (slot, upload)
    }

    /// Send a request with the bytes from `from` up to `to`.
    fn send(
        &mut self,
        upload: &Upload,
        method: &str,
        headers: &[(&str, &str)],
        (from, to): (usize, usize),
        sending: Sending,
    ) -> Answered {
        let mut conn = self.connect()?;
        let length = (to - from).to_string();
        let mut headers = headers.to_vec();
        headers.push(("Content-Length", &length));
        conn.head(method, &upload.target, &headers)?;
        let end = sending.cut.map_or(to, |cut| to.min(from + cut));
        let mut at = from;
        while at < end {
            if self.run.has_ended() {
                return Ok(None);
            }
            let next = end.min(at + self.one_of(&[1000, 16 << 10, 64 << 10, 256 << 10]));
            upload.know(|known| known.sent = known.sent.max(next as u64));
            if conn.send(&upload.data[at..next]).is_err() {
                // A server that refuses early answers and closes.
                break;
            }
            at = next;
            if sending.is_slow {
                thread::sleep(Duration::from_millis(self.random.within(0..20)));
            }
        }
        if end < to {
            if self.random.once_in(2) {
                conn.reset();
            }
            return Ok(None);
        }
        upload.know(|known| known.sent = known.sent.max(at as u64));
        conn.answer().map(Some)
    }

    fn maybe_cut(&mut self, once_in: u64, size: usize) -> Option<usize> {
        self.random.once_in(once_in).then(|| self.random.within(0..size as u64 + 1) as usize)
    }

    /// Ask how far an upload is; None when it is complete, gone, or the server cannot say.
    fn ask(&mut self, upload: &Upload) -> io::Result<Option<u64>> {
        let before = upload.known();
        let answer = probe(&mut self.connect()?, upload)?;
        self.run.count("HEAD", &answer);
        Ok(told(self.run, upload, &answer, before))
    }

    fn plain(&mut self) -> io::Result<()> {
        let (_, upload) = self.slot(&[0, 1, 500, 4096, 40_000, 300_000, 1_000_000]);
        let answer = self.send(&upload, "PUT", &[], (0, upload.data.len()), Sending::default())?;
        self.put_answered("PUT", &upload, answer.as_ref(), upload.known());
        Ok(())
    }

    /// What an answer to a PUT says.
    fn put_answered(&mut self, what: &'static str, upload: &Upload, answer: Option<&Answer>, before: Known) {
        let Some(answer) = answer else { return };
        self.run.count(what, answer);
        match answer.status {
            201 => self.run.complete(upload),
            500.. => thread::sleep(PAUSE),
            _ => {
                if let Some(offset) = answer.offset() {
                    self.run.acknowledge(upload, offset, before);
                }
            }
        }
    }

    fn ranged(&mut self, is_slow: bool) -> io::Result<()> {
        let (slot, upload) = self.slot(&[5_000, 200_000, 1_000_000, 2_000_000]);
        let size = upload.data.len();
        let mut at = 0;
        while !self.run.has_ended() && !upload.known().complete {
            let end = size.min(at + self.one_of(&[1, 4095, 4096, 70_000, 500_000, 1_500_000]));
            if at == end {
                // Every byte has arrived: only the answer that says so is missing.
                let before = upload.known();
                let answer = self.connect()?.query(&slot)?;
                self.put_answered("query", &upload, Some(&answer), before);
                continue;
            }
            let range = format!("bytes {at}-{}/{size}", end - 1);
            let sending = Sending { cut: self.maybe_cut(4, end - at), is_slow };
            let before = upload.known();
            let answer = self.send(&upload, "PUT", &[("Content-Range", &range)], (at, end), sending)?;
            self.put_answered("ranged PUT", &upload, answer.as_ref(), before);
            match answer.as_ref().and_then(Answer::offset) {
                Some(offset) => at = offset as usize,
                None => match self.ask(&upload)? {
                    Some(offset) => at = offset as usize,
                    None if upload.known().acknowledged.is_none() => at = 0,
                    None => thread::sleep(PAUSE),
                },
            }
        }
        Ok(())
    }

    /// An upload that was created and has been sent as far as it went; None where it could not be created.
    fn tus(&mut self, kind: Kind) -> io::Result<Option<Arc<Upload>>> {
        let size = self.one_of(&[1, 3_000, 90_000, 700_000, 1_500_000]);
        let deferred = self.random.once_in(5);
        let length = size.to_string();
        let mut headers =
            vec![TUS, if deferred { ("Upload-Defer-Length", "1") } else { ("Upload-Length", &length) }];
        if kind == Kind::Part {
            headers.push(("Upload-Concat", "partial"));
        }
        let Some(path) = self.create(&headers)? else { return Ok(None) };
        let data = self.random.bytes(size);
        let upload = self.run.keep(Upload::created(kind, path, data));
        let mut at = 0;
        while !self.run.has_ended() && !upload.known().complete {
            let end = size.min(at + self.one_of(&[1, 8192, 100_000, 1_000_000]));
            self.patch(&upload, at, end, deferred.then_some(length.as_str()))?;
            match self.ask(&upload)? {
                Some(offset) => at = offset as usize,
                None if upload.known().complete => {}
                None => thread::sleep(PAUSE),
            }
            if kind == Kind::Tus && self.random.once_in(30) {
                self.delete(&upload)?;
                return Ok(Some(upload));
            }
        }
        Ok(Some(upload))
    }

    fn create(&mut self, headers: &[(&str, &str)]) -> io::Result<Option<String>> {
        let mut conn = self.connect()?;
        let mut headers = headers.to_vec();
        headers.push(("Content-Length", "0"));
        conn.head("POST", "/files", &headers)?;
        let answer = conn.answer()?;
        self.run.count("POST", &answer);
        if answer.status != 201 {
            thread::sleep(PAUSE);
            return Ok(None);
        }
        let location = answer.header("location").expect("a creation has its Location").to_owned();
        let path = location.split_once("/files/").map(|(_, rest)| format!("/files/{rest}"));
        Ok(Some(path.expect("uploads lie below /files")))
    }

    fn patch(&mut self, upload: &Upload, at: usize, end: usize, announce: Option<&str>) -> io::Result<()> {
        let offset = at.to_string();
        let sum = {
            use sha1::Digest as _;
            format!("sha1 {}", BASE64_STANDARD.encode(sha1::Sha1::digest(&upload.data[at..end])))
        };
        let mut headers = vec![
            TUS,
            ("Content-Type", "application/offset+octet-stream"),
            ("Upload-Offset", offset.as_str()),
        ];
        if let Some(length) = announce.filter(|_| end == upload.data.len()) {
            headers.push(("Upload-Length", length));
        }
        if self.random.once_in(3) {
            headers.push(("Upload-Checksum", &sum));
        }
        let sending = Sending { cut: self.maybe_cut(5, end - at), is_slow: false };
        let before = upload.known();
        let Some(answer) = self.send(upload, "PATCH", &headers, (at, end), sending)? else { return Ok(()) };
        self.run.count("PATCH", &answer);
        if let Some(offset) = answer.offset().filter(|_| answer.status < 500) {
            self.run.acknowledge(upload, offset, before);
        }
        Ok(())
    }

    fn delete(&mut self, upload: &Upload) -> io::Result<()> {
        upload.know(|known| known.delete_sent = true);
        let mut conn = self.connect()?;
        conn.head("DELETE", &upload.target, &[TUS, ("Content-Length", "0")])?;
        let answer = conn.answer()?;
        self.run.count("DELETE", &answer);
        if answer.status == 204 {
            upload.know(|known| known.deleted = true);
        }
        Ok(())
    }

    fn concatenate(&mut self) -> io::Result<()> {
        let (Some(a), Some(b)) = (self.tus(Kind::Part)?, self.tus(Kind::Part)?) else { return Ok(()) };
        if !(a.known().complete && b.known().complete) {
            return Ok(());
        }
        let parts = format!("final;{} {} {}", a.path, b.path, a.path);
        let Some(path) = self.create(&[TUS, ("Upload-Concat", &parts)])? else { return Ok(()) };
        let upload =
            self.run.keep(Upload::created(Kind::Final, path, [&*a.data, &*b.data, &*a.data].concat()));
        upload.know(|known| known.sent = upload.size());
        self.ask(&upload)?;
        Ok(())
    }

    /// A plain PUT that is cut and begun again from byte 0.
    fn restart(&mut self) -> io::Result<()> {
        let (_, upload) = self.slot(&[200_000, 1_000_000]);
        upload.know(|known| known.restarting = true);
        for attempt in 0..3 {
            let cut = (attempt < 2).then(|| self.random.within(0..upload.size()) as usize);
            let sending = Sending { cut, is_slow: true };
            let answer = self.send(&upload, "PUT", &[], (0, upload.data.len()), sending)?;
            self.put_answered("PUT again", &upload, answer.as_ref(), upload.known());
        }
        Ok(())
    }

    /// A slow plain PUT whose offset is asked for while it runs.
    fn watched(&mut self) -> io::Result<()> {
        let (_, upload) = self.slot(&[1_500_000]);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| watch(self.run, &upload, &done));
            let sending = Sending { cut: None, is_slow: true };
            let mut client = Client { run: self.run, random: Random::new(self.random.next()) };
            let before = upload.known();
            let answer = client.send(&upload, "PUT", &[], (0, upload.data.len()), sending);
            done.store(true, Ordering::SeqCst);
            client.put_answered("PUT", &upload, answer?.as_ref(), before);
            Ok(())
        })
    }
}

fn watch(run: &Run<'_>, upload: &Upload, done: &AtomicBool) {
    while !done.load(Ordering::SeqCst) && !run.has_ended() {
        let before = upload.known();
        let Ok(answer) = Conn::open(run.address).and_then(|mut conn| conn.probe(&upload.path)) else {
            return;
        };
        run.count("HEAD", &answer);
        told(run, upload, &answer, before);
        thread::sleep(Duration::from_millis(40));
    }
}

/// HEAD in the upload's dialect.
pub(crate) fn probe(conn: &mut Conn, upload: &Upload) -> io::Result<Answer> {
    if upload.is_tus() { conn.probe_with(&upload.target, &[TUS]) } else { conn.probe(&upload.target) }
}

/// What an answer to HEAD says; the offset, where there is one and the upload is not complete.
pub(crate) fn told(run: &Run<'_>, upload: &Upload, answer: &Answer, before: Known) -> Option<u64> {
    let length = answer.header("upload-length").and_then(|text| text.parse().ok());
    match (answer.status, answer.offset()) {
        (200 | 204, Some(offset)) => {
            run.acknowledge(upload, offset, before);
            if upload.is_tus() && length == Some(offset) {
                run.complete(upload);
                return None;
            }
            Some(offset)
        }
        // A download: complete. A concatenation that is not assembled yet has no offset.
        (200, None) if !upload.is_tus() => {
            run.complete(upload);
            None
        }
        (404 | 410, _) => {
            run.gone(upload, before, answer);
            None
        }
        _ => None,
    }
}

/// Send what is missing; the answer.
pub(crate) fn resume(run: &Run<'_>, upload: &Upload, offset: u64) -> io::Result<Answer> {
    let mut client = Client { run, random: Random::new(offset) };
    let (at, size) = (offset as usize, upload.data.len());
    let (offset, length) = (offset.to_string(), size.to_string());
    let range = format!("bytes {at}-{}/{size}", size.max(1) - 1);
    let plain = [("Content-Range", range.as_str())];
    let tus = [
        TUS,
        ("Content-Type", "application/offset+octet-stream"),
        ("Upload-Offset", offset.as_str()),
        ("Upload-Length", length.as_str()),
    ];
    let (method, headers) = if upload.is_tus() { ("PATCH", &tus[..]) } else { ("PUT", &plain[..]) };
    let answer = client.send(upload, method, headers, (at, size), Sending::default())?;
    answer.ok_or_else(|| ErrorKind::Interrupted.into())
}
