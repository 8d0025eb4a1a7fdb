//! A phone of a crowd: it sends one file, and changes its link at the moments that its plan names.

use std::{
    cell::{Cell, RefCell},
    io,
    ops::Range,
    time::{Duration, Instant},
};

use tokio::{sync::watch, time::sleep};

use crate::{
    common::{Random, http::Answer},
    line::Line,
    net::{Link, PORT},
    roads::Roads,
    upload::{Dialect, Question, Standing, Upload, bearer, session_id},
};

/// Bytes that are sent at once, at most.
const SLICE: u64 = 16 << 10;

/// What happened, to all phones together.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Phones whose first slice has been sent.
    pub(crate) begun: Cell<u64>,
    pub(crate) switches: Cell<u64>,
    pub(crate) silent: Cell<u64>,
    pub(crate) resets: Cell<u64>,
    pub(crate) closes: Cell<u64>,
    pub(crate) sent: Cell<u64>,
    pub(crate) sent_again: Cell<u64>,
    /// Continuations that were let in by the session's id, the token being expired or not shown.
    pub(crate) by_session: Cell<u64>,
    /// Those let in by a fresh token alone.
    pub(crate) by_fresh_token: Cell<u64>,
    /// Those let in by the slot's token while it lived.
    pub(crate) by_token: Cell<u64>,
    /// Fresh tokens with an end of their own: those that cost a refresh.
    pub(crate) fresh_tokens: Cell<u64>,
    pub(crate) sessions: Cell<u64>,
    /// Attempts that the server's death, or its absence, broke.
    pub(crate) broken: Cell<u64>,
    /// Answers that asked to come again: 409, 416, 423, 429, 503.
    pub(crate) put_off: Cell<u64>,
    /// Tokens that expired before their phone was heard for the first time, and were minted anew.
    pub(crate) minted_again: Cell<u64>,
    pub(crate) recoveries: RefCell<Vec<Recovery>>,
}

/// From the decision to come back until the server let the bytes come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recovery {
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    /// A connection broke meanwhile: the server was away.
    pub(crate) was_broken: bool,
}

pub(crate) fn add(counter: &Cell<u64>, more: u64) {
    counter.set(counter.get() + more);
}

/// What all phones of a crowd share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) figures: Figures,
    pub(crate) roads: Roads,
    /// True once every phone may go on after its first slice.
    pub(crate) gate: watch::Receiver<bool>,
    /// Bytes a second of one phone.
    pub(crate) pace: u64,
    /// Over how long the phones begin.
    pub(crate) spread: Duration,
    /// How long a slot's token lives, at least.
    pub(crate) token_life: Duration,
}

/// How a request is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Token,
    Session,
    FreshToken,
}

/// How a leg went.
#[derive(Debug)]
enum Leg {
    /// The moment to switch is there: in the middle of a body, of which these bytes are not sent yet, or, where there
    /// are none, behind an acknowledged part.
    Reached(Line, Range<u64>),
    Complete,
    /// The server asked to come again.
    PutOff,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Phone {
    pub(crate) number: usize,
    pub(crate) upload: Upload,
    /// Offsets at which the link changes, ascending.
    pub(crate) cuts: Vec<u64>,
    pub(crate) random: Random,
    pub(crate) link: Link,
    pub(crate) session: Option<String>,
    /// Moves that this session has to know of: it was named on one link, and then on another.
    pub(crate) moves: u64,
    named_on: Option<Link>,
    fresh: Option<String>,
    /// X-Session-Expires of the fresh token.
    fresh_ends: Option<String>,
    acknowledged: u64,
    /// The end of what was sent, be it lost or not.
    sent: u64,
    /// When it decided to come back, and whether a connection has broken since.
    came_back: Option<(Instant, bool)>,
    has_address: [bool; 2],
}

impl Phone {
    /// One whose addresses exist on both links.
    pub(crate) fn new(number: usize, upload: Upload, cuts: Vec<u64>, random: Random) -> Self {
        Self {
            number,
            upload,
            cuts,
            random,
            link: Link::BOTH[number % 2],
            session: None,
            moves: 0,
            named_on: None,
            fresh: None,
            fresh_ends: None,
            acknowledged: 0,
            sent: 0,
            came_back: None,
            has_address: [true; 2],
        }
    }

    /// Upload all of it.
    pub(crate) async fn live(&mut self, world: &World) {
        sleep(world.spread.mul_f64(self.random.within(0..1000) as f64 / 1000.0)).await;
        self.upload.mint(world.token_life);
        while !self.introduce(world).await {}
        for leg in 0..=self.cuts.len() {
            let until = self.cuts.get(leg).copied().unwrap_or(self.upload.size());
            let (line, rest) = loop {
                match self.leg(world, until).await {
                    Ok(Leg::Reached(line, rest)) => break (line, rest),
                    Ok(Leg::Complete) => {
                        assert_eq!(leg, self.cuts.len(), "{} ended before its last switch", self.upload.path);
                        return;
                    }
                    Ok(Leg::PutOff) => add(&world.figures.put_off, 1),
                    Err(_) => {
                        add(&world.figures.broken, 1);
                        self.came_back = Some((self.came_back.map_or_else(Instant::now, |(at, _)| at), true));
                    }
                }
                self.pause(50..250).await;
            };
            self.switch(world, line, rest).await;
        }
    }

    async fn pause(&mut self, ms: Range<u64>) {
        sleep(Duration::from_millis(self.random.within(ms))).await;
    }

    async fn connect(&self) -> io::Result<Line> {
        Line::open(self.link.of_phone(self.number), self.link.server(PORT)).await
    }

    /// The first request, which shows the slot's token and learns the session; whether it did.
    async fn introduce(&mut self, world: &World) -> bool {
        if self.upload.has_expired() {
            add(&world.figures.minted_again, 1);
            self.upload.mint(world.token_life);
        }
        let shown = [bearer(&self.upload.token)];
        let asked = match self.connect().await {
            Ok(mut line) => self.upload.ask(&mut line, Question::Status, &shown).await,
            Err(e) => Err(e),
        };
        match asked {
            Ok((Standing::At(0), answer)) => {
                self.hear(world, Key::Token, &answer);
                assert!(self.session.is_some(), "{}: a token opens a session: {answer:?}", self.upload.path);
                true
            }
            // This machine was too slow for the token; or for us.
            Ok((Standing::Denied, _)) if self.upload.has_expired() => false,
            Err(_) => false,
            Ok(other) => panic!("{}: {other:?}", self.upload.path),
        }
    }

    /// Keep what an answer says of the session.
    fn hear(&mut self, world: &World, key: Key, answer: &Answer) {
        if let Some(id) = answer.header("x-session-id") {
            if self.session.as_deref() != Some(id) {
                add(&world.figures.sessions, 1);
                self.session = Some(id.to_owned());
                self.named_on = Some(self.link);
                self.moves = 0;
            } else if key == Key::Session {
                let before = self.named_on.replace(self.link);
                self.moves += u64::from(before != Some(self.link));
            }
        }
        if let Some(token) = answer.header("x-session-token") {
            self.fresh = Some(token.to_owned());
            let ends = answer.header("x-session-expires").expect("the end of a fresh token").to_owned();
            if self.fresh_ends.as_ref() != Some(&ends) {
                add(&world.figures.fresh_tokens, 1);
                self.fresh_ends = Some(ends);
            }
        }
    }

    /// What the next requests show.
    fn choose_key(&mut self) -> (Key, Vec<(&'static str, String)>) {
        let session = session_id(self.session.as_deref().expect("learnt before"));
        if !self.upload.has_expired() {
            return (Key::Token, vec![bearer(&self.upload.token), session]);
        }
        match (self.random.within(0..3), &self.fresh) {
            (0, Some(fresh)) => (Key::FreshToken, vec![bearer(fresh)]),
            (1, _) => (Key::Session, vec![session]),
            _ => (Key::Session, vec![bearer(&self.upload.token), session]),
        }
    }

    /// Come back, ask for the offset, go on there up to `until`.
    async fn leg(&mut self, world: &World, until: u64) -> io::Result<Leg> {
        let (key, shown) = self.choose_key();
        let mut line = self.connect().await?;
        let question = match self.random.within(0..3) {
            0 => Question::Status,
            1 => Question::Head,
            _ => Question::TusHead,
        };
        let (standing, answer) = self.upload.ask(&mut line, question, &shown).await?;
        self.hear(world, key, &answer);
        let from = match standing {
            Standing::At(offset) => offset,
            Standing::Complete => return Ok(Leg::Complete),
            Standing::Wait => return Ok(Leg::PutOff),
            Standing::Denied => panic!("{}: {shown:?} is refused: {answer:?}", self.upload.path),
        };
        self.acknowledge(from);
        let dialect = match self.random.within(0..3) {
            0 if self.sent == 0 => Dialect::Plain,
            0 | 1 => Dialect::Ranged,
            _ => Dialect::Tus,
        };
        let size = self.upload.size();
        // The server may be beyond the moment of the next switch already: then the switch follows on the head.
        let ends_at_cut = dialect != Dialect::Plain && from < until && self.random.once_in(4);
        let end = if ends_at_cut { until } else { size };
        let mut shown = shown;
        shown.push(("Expect", "100-continue".to_owned()));
        self.upload.begin(&mut line, dialect, (from, end), &shown).await?;
        let answer = line.any_answer(false).await?;
        if answer.status != 100 {
            return Ok(self.judge(dialect, end, &answer, line));
        }
        self.let_in(world, key);
        if !self.send(world, &mut line, from, until).await? || until == end {
            let answer = line.answer().await?;
            return Ok(self.judge(dialect, end, &answer, line));
        }
        Ok(Leg::Reached(line, until.max(from)..end))
    }

    /// The server lets the bytes come.
    fn let_in(&mut self, world: &World, key: Key) {
        let figures = &world.figures;
        if let Some((began, was_broken)) = self.came_back.take() {
            figures.recoveries.borrow_mut().push(Recovery { began, ended: Instant::now(), was_broken });
            match key {
                Key::Token => add(&figures.by_token, 1),
                Key::Session => add(&figures.by_session, 1),
                Key::FreshToken => add(&figures.by_fresh_token, 1),
            }
        }
    }

    /// An offset that the server named.
    fn acknowledge(&mut self, offset: u64) {
        let (path, known, sent) = (&self.upload.path, self.acknowledged, self.sent);
        assert!(offset >= known, "{path}: told {offset} after {known} had been acknowledged");
        assert!(offset <= sent, "{path}: told {offset} and {sent} were sent");
        self.acknowledged = offset;
    }

    fn judge(&mut self, dialect: Dialect, end: u64, answer: &Answer, line: Line) -> Leg {
        match self.upload.judge(dialect, end, answer) {
            Some(Standing::Complete) => Leg::Complete,
            Some(Standing::At(offset)) => {
                assert_eq!(offset, end, "{}: {answer:?}", self.upload.path);
                self.acknowledge(offset);
                Leg::Reached(line, end..end)
            }
            Some(Standing::Wait | Standing::Denied) | None => Leg::PutOff,
        }
    }

    /// Send slices at the crowd's pace; false when the server answered before the end.
    async fn send(&mut self, world: &World, line: &mut Line, from: u64, until: u64) -> io::Result<bool> {
        let mut at = from;
        while at < until {
            if line.is_answered() {
                return Ok(false);
            }
            let end = (at + self.random.within(SLICE / 2..SLICE)).min(until);
            let is_first = self.sent == 0;
            self.send_slice(world, line, at..end).await?;
            if is_first {
                add(&world.figures.begun, 1);
                let mut gate = world.gate.clone();
                gate.wait_for(|is_open| *is_open).await.expect("the gate outlives the phones");
            }
            let micros = (end - at) * 1_000_000 / world.pace;
            at = end;
            sleep(Duration::from_micros(self.random.within(micros / 2..micros * 3 / 2 + 1))).await;
        }
        Ok(true)
    }

    async fn send_slice(&mut self, world: &World, line: &mut Line, slice: Range<u64>) -> io::Result<()> {
        add(&world.figures.sent, slice.end - slice.start);
        add(&world.figures.sent_again, self.sent.min(slice.end).saturating_sub(slice.start));
        self.sent = self.sent.max(slice.end);
        line.send(self.upload.part(slice.start, slice.end)).await
    }

    /// Leave this link for the other. In half of the cases the server hears nothing of it.
    async fn switch(&mut self, world: &World, mut line: Line, rest: Range<u64>) {
        let figures = &world.figures;
        match self.random.within(0..4) {
            0 => {
                add(&figures.resets, 1);
                line.reset();
            }
            1 => {
                add(&figures.closes, 1);
                drop(line);
            }
            _ => {
                add(&figures.silent, 1);
                world.roads.remove(self.link, self.number).await;
                self.has_address[self.link as usize] = false;
                // A phone notices late: the kernel takes these bytes and cannot send them. If they arrive, and the
                // socket's end behind them, then when this address comes back and another socket is long at work.
                let blind = rest.start..(rest.start + self.random.within(0..SLICE)).min(rest.end);
                if !blind.is_empty() {
                    let _ = self.send_slice(world, &mut line, blind).await;
                }
                drop(line);
            }
        }
        add(&figures.switches, 1);
        self.pause(0..400).await;
        self.link = self.link.other();
        if !std::mem::replace(&mut self.has_address[self.link as usize], true) {
            world.roads.add(self.link, self.number).await;
        }
        self.came_back = Some((Instant::now(), false));
    }
}
