//! What clients sent and were told, and what was found wrong.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::common::{eventually, http::Answer, slots::Slot};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Slot,
    Tus,
    /// A part of a concatenation.
    Part,
    Final,
}

/// One upload as its client knows it.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) kind: Kind,
    pub(crate) path: String,
    /// What a PUT or PATCH is sent to: the path, with its token if there is one.
    pub(crate) target: String,
    pub(crate) data: Vec<u8>,
    known: Mutex<Known>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known {
    /// The furthest byte that was given to a socket.
    pub(crate) sent: u64,
    /// The largest offset in any answer; None: no answer said that there is such an upload.
    pub(crate) acknowledged: Option<u64>,
    pub(crate) complete: bool,
    /// DELETE was answered 204.
    pub(crate) deleted: bool,
    /// DELETE was sent: until its answer is seen it may or may not have happened.
    pub(crate) delete_sent: bool,
    /// A PUT from byte 0 was sent on top of an older attempt: offsets of that attempt bind the server no longer.
    pub(crate) restarting: bool,
}

impl Upload {
    pub(crate) fn slot(slot: &Slot, data: Vec<u8>) -> Self {
        let known = Mutex::default();
        Self { kind: Kind::Slot, path: slot.path.clone(), target: slot.target.clone(), data, known }
    }

    /// An upload that a POST has created.
    pub(crate) fn created(kind: Kind, path: String, data: Vec<u8>) -> Self {
        let known = Known { acknowledged: Some(0), ..Known::default() };
        Self { kind, target: path.clone(), path, data, known: Mutex::new(known) }
    }

    pub(crate) fn size(&self) -> u64 {
        self.data.len() as u64
    }

    pub(crate) fn known(&self) -> Known {
        *self.known.lock().unwrap()
    }

    pub(crate) fn know(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.lock().unwrap());
    }

    pub(crate) fn is_tus(&self) -> bool {
        self.kind != Kind::Slot
    }
}

/// What happened, over all rounds.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    answers: Mutex<HashMap<(&'static str, u16), u64>>,
    pub(crate) offsets_compared: AtomicU64,
    pub(crate) files_compared: AtomicU64,
    pub(crate) bytes_compared: AtomicU64,
    pub(crate) resumed: AtomicU64,
    pub(crate) injected: AtomicU64,
    pub(crate) pieces_lost: AtomicU64,
    pub(crate) pieces_kept: AtomicU64,
    pub(crate) not_ready: AtomicU64,
}

pub(crate) fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

impl Figures {
    pub(crate) fn print(&self, name: &str, rounds: u64, uploads: u64, seconds: f64) {
        let figure = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut answers: Vec<_> = self.answers.lock().unwrap().clone().into_iter().collect();
        answers.sort();
        let total: u64 = answers.iter().map(|(_, count)| count).sum();
        let answers: Vec<String> =
            answers.iter().map(|((what, status), count)| format!("{what} {status}: {count}")).collect();
        println!(
            "{name}: {rounds} rounds in {seconds:.0} s: {uploads} uploads, {total} answers ({}); {} operations of the \
             file system hit by a rule, {} unsynced pieces lost and {} kept; {} rounds in which /readyz said no; {} \
             offsets, {} files and {} bytes compared, {} uploads resumed to their end; nothing lost",
            answers.join(", "),
            figure(&self.injected),
            figure(&self.pieces_lost),
            figure(&self.pieces_kept),
            figure(&self.not_ready),
            figure(&self.offsets_compared),
            figure(&self.files_compared),
            figure(&self.bytes_compared),
            figure(&self.resumed),
        );
    }
}

/// One run of the server, as all its clients share it.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) stops: AtomicBool,
    /// The power has gone: connections may break, and answers may fail to come.
    pub(crate) is_off: AtomicBool,
    pub(crate) uploads: &'a Mutex<Vec<Arc<Upload>>>,
    pub(crate) figures: &'a Figures,
    pub(crate) complaints: Mutex<Vec<String>>,
}

impl Run<'_> {
    pub(crate) fn has_ended(&self) -> bool {
        self.stops.load(Ordering::SeqCst) || self.is_off.load(Ordering::SeqCst)
    }

    /// Wait for so many more answers: a round is as busy on a loaded machine as on an idle one.
    pub(crate) fn wait_for_answers(&self, more: u64) {
        let total = || self.figures.answers.lock().unwrap().values().sum::<u64>();
        let wanted = total() + more;
        eventually("the clients are answered", || total() >= wanted);
    }

    pub(crate) fn complain(&self, text: String) {
        self.complaints.lock().unwrap().push(text);
    }

    pub(crate) fn keep(&self, upload: Upload) -> Arc<Upload> {
        let upload = Arc::new(upload);
        self.uploads.lock().unwrap().push(Arc::clone(&upload));
        upload
    }

    /// Look at what every answer has to keep to.
    pub(crate) fn count(&self, what: &'static str, answer: &Answer) {
        *self.figures.answers.lock().unwrap().entry((what, answer.status)).or_default() += 1;
        if matches!(answer.status, 503 | 507) && answer.header("retry-after").is_none() {
            self.complain(format!("{what}: {} without Retry-After: {}", answer.status, answer.text()));
        }
        let is_known =
            matches!(answer.status, 200 | 201 | 204 | 308 | 404 | 409 | 410 | 416 | 423 | 500 | 503 | 507);
        if !is_known {
            self.complain(format!("{what}: no fault explains {}: {}", answer.status, answer.text()));
        }
    }

    /// An offset that an answer tells of; `before` is what was known when its request was sent.
    pub(crate) fn acknowledge(&self, upload: &Upload, offset: u64, before: Known) {
        upload.know(|known| {
            if offset > known.sent {
                self.complain(format!("{}: told {offset}, but {known:?}", upload.path));
            }
            if before.restarting || known.restarting {
                return;
            }
            if before.acknowledged.is_some_and(|acknowledged| offset < acknowledged) {
                self.complain(format!("{}: told {offset}, and before that {before:?}", upload.path));
            }
            known.acknowledged = known.acknowledged.max(Some(offset));
        });
    }

    pub(crate) fn complete(&self, upload: &Upload) {
        upload.know(|known| {
            if known.sent < upload.size() {
                self.complain(format!("{}: complete, but {known:?}", upload.path));
            }
            known.complete = true;
            known.restarting = false;
            known.acknowledged = Some(upload.size());
        });
    }

    /// There is no such upload.
    pub(crate) fn gone(&self, upload: &Upload, before: Known, answer: &Answer) {
        let existed = before.complete
            || before.acknowledged.is_some_and(|offset| offset > 0 || upload.is_tus()) && !before.restarting;
        // A concatenation for which there is no room is given up.
        let given_up = upload.kind == Kind::Final && !before.complete && answer.status == 410;
        if existed && !before.delete_sent && !given_up {
            self.complain(format!("{}: {}, but {before:?}", upload.path, answer.status));
        }
    }
}
