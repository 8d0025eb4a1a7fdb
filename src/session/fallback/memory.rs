//! What a node remembers of sessions and bindings: those used last, up to a number.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

use super::super::rules::{Held, surplus};
use super::{Fingerprint, Name, Replaced, Session, SessionKey, Timestamp};

/// A map that forgets what was not used for longest.
struct Recent<K, V> {
    most: usize,
    /// Each with the time of its last use, in uses.
    entries: HashMap<K, (V, u64)>,
    by_use: BTreeMap<u64, K>,
    uses: u64,
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    fn new(most: usize) -> Self {
        Self { most, entries: HashMap::new(), by_use: BTreeMap::new(), uses: 0 }
    }

    fn get(&mut self, key: &K) -> Option<&mut V> {
        let (value, used) = self.entries.get_mut(key)?;
        self.by_use.remove(used);
        self.uses += 1;
        *used = self.uses;
        self.by_use.insert(self.uses, key.clone());
        Some(value)
    }

    fn insert(&mut self, key: K, value: V) {
        self.uses += 1;
        self.by_use.insert(self.uses, key.clone());
        if let Some((_, used)) = self.entries.insert(key, (value, self.uses)) {
            self.by_use.remove(&used);
        }
        while self.entries.len() > self.most
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.entries.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &K) -> Option<V> {
        let (value, used) = self.entries.remove(key)?;
        self.by_use.remove(&used);
        Some(value)
    }

    fn retain(&mut self, mut keep: impl FnMut(&V) -> bool) {
        let by_use = &mut self.by_use;
        self.entries.retain(|_, (value, used)| {
            let is_kept = keep(value);
            if !is_kept {
                by_use.remove(used);
            }
            is_kept
        });
    }

    fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, (value, _))| (key, value))
    }
}

/// What is remembered of a session.
#[derive(Clone, Debug)]
pub(super) enum Remembered {
    /// As it was last seen. Marked when the remote did not take this version yet.
    Known { session: Box<Session>, is_marked: bool },
    /// Its holder ended it while the remote was away.
    Removed,
}

struct Binding {
    name: Name,
    until: Timestamp,
    is_marked: bool,
}

pub(super) struct Memory {
    sessions: Recent<SessionKey, Remembered>,
    bindings: Recent<Fingerprint, Binding>,
}

impl Memory {
    pub(super) fn new(most: usize) -> Self {
        Self { sessions: Recent::new(most), bindings: Recent::new(most) }
    }

    pub(super) fn session(&mut self, key: &SessionKey) -> Option<Remembered> {
        self.sessions.get(key).cloned()
    }

    pub(super) fn is_marked(&self, key: &SessionKey) -> bool {
        matches!(self.sessions.entries.get(key), Some((Remembered::Known { is_marked: true, .. }, _)))
    }

    pub(super) fn put(&mut self, session: Session, is_marked: bool) {
        self.sessions
            .insert(session.key.clone(), Remembered::Known { session: Box::new(session), is_marked });
    }

    /// Remember what the remote has, unless newer is known. What is marked is kept as well, but for the version `was`
    /// that the remote has taken now.
    pub(super) fn learn(&mut self, session: &Session, was: Option<u64>) {
        let is_news = match self.sessions.get(&session.key) {
            None => true,
            Some(Remembered::Removed) => false,
            Some(Remembered::Known { session: known, is_marked }) => {
                **known == *session
                    || session.version >= known.version && (!*is_marked || was == Some(known.version))
            }
        };
        if is_news {
            self.put(session.clone(), false);
        }
    }

    /// Compare-and-set, marked.
    pub(super) fn replace(&mut self, session: Session, seen: u64) -> Replaced {
        match self.sessions.get(&session.key) {
            Some(Remembered::Known { session: known, .. }) if known.version == seen => {
                self.put(session, true);
                Replaced::Done
            }
            Some(Remembered::Known { .. } | Remembered::Removed) | None => Replaced::Stale,
        }
    }

    /// Whether it was known.
    pub(super) fn forget(&mut self, key: &SessionKey) -> bool {
        matches!(self.sessions.remove(key), Some(Remembered::Known { .. }))
    }

    /// Remember that it was removed; whether it was known.
    pub(super) fn remove(&mut self, key: &SessionKey) -> bool {
        let was_known = self.forget(key);
        self.sessions.insert(key.clone(), Remembered::Removed);
        was_known
    }

    pub(super) fn binding(&mut self, token: &Fingerprint) -> Option<Name> {
        self.bindings.get(token).map(|binding| binding.name.clone())
    }

    /// Remember what the remote has.
    pub(super) fn bound(&mut self, token: &Fingerprint, name: Name, until: Timestamp) {
        self.bindings.insert(token.clone(), Binding { name, until, is_marked: false });
    }

    /// Bind a token, marked, unless it is bound; to what it is bound.
    pub(super) fn bind(&mut self, token: &Fingerprint, name: &Name, until: Timestamp) -> Name {
        if let Some(bound) = self.binding(token) {
            return bound;
        }
        self.bindings.insert(token.clone(), Binding { name: name.clone(), until, is_marked: true });
        name.clone()
    }

    /// Up to `limit` marked sessions, and as many bindings.
    pub(super) fn marked(&self, limit: usize) -> (Vec<SessionKey>, Vec<(Fingerprint, Name, Timestamp)>) {
        let is_marked = |it: &Remembered| match it {
            Remembered::Known { is_marked, .. } => *is_marked,
            Remembered::Removed => true,
        };
        let sessions = self.sessions.iter().filter(|(_, it)| is_marked(it)).map(|(key, _)| key.clone());
        let bindings = self.bindings.iter().filter(|(_, binding)| binding.is_marked);
        let bindings = bindings.map(|(token, binding)| (token.clone(), binding.name.clone(), binding.until));
        (sessions.take(limit).collect(), bindings.take(limit).collect())
    }

    pub(super) fn clean_bindings(&mut self, now: Timestamp) {
        self.bindings.retain(|binding| binding.until > now);
    }

    /// As the trait's; how many sessions were forgotten.
    pub(super) fn clean(&mut self, now: Timestamp, most: u64) -> u64 {
        let before = self.count();
        self.sessions.retain(|it| match it {
            Remembered::Known { session, .. } => session.expires_at > now,
            Remembered::Removed => true,
        });
        let beyond = usize::try_from(self.count().saturating_sub(most)).unwrap_or(usize::MAX);
        if beyond > 0 {
            let known = self.sessions.iter().filter_map(|(key, it)| match it {
                Remembered::Known { session, .. } => Some(Held {
                    holder: session.holder(),
                    is_open: session.is_open,
                    seen_at: session.seen_at.0,
                    key: key.clone(),
                }),
                Remembered::Removed => None,
            });
            for key in surplus(known.collect(), beyond) {
                self.sessions.remove(&key);
            }
        }
        before.saturating_sub(self.count())
    }

    pub(super) fn count(&self) -> u64 {
        self.sessions.iter().filter(|(_, it)| matches!(it, Remembered::Known { .. })).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_what_was_not_used_for_longest() {
        let mut recent = Recent::new(3);
        for n in 0..3 {
            recent.insert(n, n * 10);
        }
        assert_eq!(recent.get(&0), Some(&mut 0));
        recent.insert(3, 30);
        recent.insert(2, 21);
        recent.insert(4, 40);
        let mut left: Vec<_> = recent.iter().map(|(key, value)| (*key, *value)).collect();
        left.sort_unstable();
        assert_eq!(left, [(2, 21), (3, 30), (4, 40)]);
        assert_eq!(recent.by_use.len(), 3);
        recent.retain(|value| *value != 30);
        assert_eq!(recent.remove(&4), Some(40));
        assert_eq!((recent.entries.len(), recent.by_use.len()), (1, 1));
    }
}
