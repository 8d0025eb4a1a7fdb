//! Which operations fail, and how.

use std::{thread, time::Duration};

use crate::{common::Random, image::Failed};

/// What a path belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// Below a folder `blobs`.
    Blobs,
    /// Names that begin with `ledger.db`.
    Ledger,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    Open,
    Create,
    Read,
    Write,
    Sync,
    SyncFolder,
    Truncate,
    Remove,
    Rename,
    MakeFolder,
    Allocate,
    Statfs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Fail(Failed),
    Delay(Duration),
    /// Fewer bytes are written than were given.
    Short,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    /// None: every class.
    pub(crate) class: Option<Class>,
    /// None: every operation.
    pub(crate) operation: Option<Operation>,
    pub(crate) effect: Effect,
    pub(crate) percent: u64,
}

/// The rules that hold now, and how often they have.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) holding: Vec<Rule>,
    pub(crate) injected: u64,
    random: Random,
}

/// What becomes of one operation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) fails: Option<Failed>,
    pub(crate) is_short: bool,
    delay: Option<Duration>,
}

impl Rules {
    pub(crate) fn new(seed: u64) -> Self {
        Self { holding: Vec::new(), injected: 0, random: Random::new(seed) }
    }

    pub(crate) fn judge(&mut self, class: Class, operation: Operation) -> Verdict {
        let mut verdict = Verdict::default();
        for rule in &self.holding {
            let concerns = rule.class.is_none_or(|its| its == class)
                && rule.operation.is_none_or(|its| its == operation);
            if !concerns || self.random.within(0..100) >= rule.percent {
                continue;
            }
            match rule.effect {
                Effect::Fail(number) => verdict.fails = Some(number),
                Effect::Delay(time) => verdict.delay = Some(time),
                Effect::Short if operation == Operation::Write => verdict.is_short = true,
                Effect::Short => continue,
            }
            self.injected += 1;
        }
        verdict
    }

    /// A part of `size`, at least one byte.
    pub(crate) fn part_of(&mut self, size: usize) -> usize {
        if size < 2 { size } else { self.random.within(1..size as u64) as usize }
    }
}

impl Verdict {
    pub(crate) fn wait(&self) {
        if let Some(time) = self.delay {
            thread::sleep(time);
        }
    }
}
