//! Sessions in one Redis server, version 6 or later, for several nodes together.
//!
//! ```text
//!   plimsoll:session:KEY      hash: version, document (JSON), holder; or `gone`, when its holder ended it
//!   plimsoll:sessions:ends    sorted set of KEYs by when they end
//!   plimsoll:sessions:rank    sorted set of KEYs by who goes first when there are too many
//!   plimsoll:binding:TOKEN    the upload's name
//!   plimsoll:bindings:ends    sorted set of TOKENs by when they end
//! ```
//!
//! Each change is one script, so that it is a compare-and-set and keeps the sets in step. What nobody cleans expires by
//! itself an hour after its end. A script begins with the write that a full Redis refuses: behind any other it would let
//! the rest pass. Rejected: finding ended sessions by SCAN, which walks over everybody's keys.

use std::{fmt, sync::LazyLock, time::Duration};

use async_trait::async_trait;
use redis::{AsyncCommands as _, Script};

use super::{
    Fingerprint, Replaced, Session, SessionKey, Sessions,
    fallback::Remote,
    rules::{Held, surplus},
};
use crate::{
    clock::Timestamp,
    fault::{Component, Fault},
    redis_link::Link,
    upload::Name,
};

const SESSION: &str = "plimsoll:session:";
const ENDS: &str = "plimsoll:sessions:ends";
const RANK: &str = "plimsoll:sessions:rank";
const BINDING: &str = "plimsoll:binding:";
const BINDING_ENDS: &str = "plimsoll:bindings:ends";

/// Redis forgets by itself so long after the end of a thing; until then `clean` does, and our clocks may differ.
const SLACK: Duration = Duration::from_secs(3600);
/// The latest moment that Redis is given: the end of the year 9999.
const LATEST: i64 = 253_402_300_799_999;
/// Keys that one script removes at most, since nobody else is served meanwhile.
const CHUNK: u32 = 500;
/// Open sessions rank behind all that are not: further than any time in milliseconds, and exact in a double.
const OPEN_RANK: i64 = 1 << 51;

/// KEYS: session, ends, rank. ARGV: key, version, document, end, rank, when to forget, holder, then what
/// the script needs.
const PUT: &str = r"
local function put()
    redis.call('HSET', KEYS[1], 'version', ARGV[2], 'document', ARGV[3], 'holder', ARGV[7])
    redis.call('HDEL', KEYS[1], 'gone')
    redis.call('PEXPIREAT', KEYS[1], ARGV[6])
    redis.call('ZADD', KEYS[2], ARGV[4], ARGV[1])
    redis.call('ZADD', KEYS[3], ARGV[5], ARGV[1])
end
";
const RECORD: &str = "put()";
const REPLACE: &str = r"
if redis.call('HGET', KEYS[1], 'version') ~= ARGV[8] then return 0 end
put()
return 1
";
/// Versions have 64 bits and Lua's numbers 53, so they are compared as texts.
const RESTORE: &str = r"
if redis.call('HEXISTS', KEYS[1], 'gone') == 1 then return false end
local stored = redis.call('HGET', KEYS[1], 'version')
if stored and (#stored > #ARGV[2] or #stored == #ARGV[2] and stored >= ARGV[2]) then
    return redis.call('HGET', KEYS[1], 'document')
end
put()
return ARGV[3]
";
const REMOVE: &str = r"
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
if redis.call('HEXISTS', KEYS[1], 'version') == 0 then return 0 end
redis.call('HSET', KEYS[1], 'gone', 1)
redis.call('HDEL', KEYS[1], 'version', 'document', 'holder')
return 1
";
/// KEYS: binding, ends. ARGV: token, name, end, when to forget.
const BIND: &str = r"
local bound = redis.call('GET', KEYS[1])
if bound then return bound end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('PEXPIREAT', KEYS[1], ARGV[4])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
return ARGV[2]
";
/// KEYS: ends, and for sessions rank. ARGV: prefix, now, how many at most.
const CLEAN_ENDED: &str = r"
local ended = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])
for _, key in ipairs(ended) do
    redis.call('DEL', ARGV[1] .. key)
    for _, set in ipairs(KEYS) do redis.call('ZREM', set, key) end
end
return #ended
";
/// KEYS: ends, rank. ARGV: prefix, then keys, each with the rank that it was chosen by: who was seen since stays.
const CLEAN_CHOSEN: &str = r"
local removed = 0
for n = 2, #ARGV, 2 do
    local rank = redis.call('ZSCORE', KEYS[2], ARGV[n])
    if rank and tonumber(rank) == tonumber(ARGV[n + 1]) then
        redis.call('DEL', ARGV[1] .. ARGV[n])
        for _, set in ipairs(KEYS) do redis.call('ZREM', set, ARGV[n]) end
        removed = removed + 1
    end
end
return removed
";

static RECORD_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(&format!("{PUT}{RECORD}")));
static REPLACE_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(&format!("{PUT}{REPLACE}")));
static RESTORE_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(&format!("{PUT}{RESTORE}")));
static REMOVE_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(REMOVE));
static BIND_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(BIND));
static CLEAN_ENDED_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(CLEAN_ENDED));
static CLEAN_CHOSEN_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(CLEAN_CHOSEN));

/// See the module's page.
#[derive(Debug)]
pub struct RedisSessions {
    link: Link,
}

impl RedisSessions {
    /// Sessions behind this link, which is one for [`Component::Sessions`].
    #[must_use]
    pub fn new(link: Link) -> Self {
        Self { link }
    }

    /// Run a script that may put a session.
    async fn put<T: redis::FromRedisValue + Send>(
        &self,
        doing: &'static str,
        script: &Script,
        session: &Session,
        seen: Option<u64>,
    ) -> Result<T, Fault> {
        let document = serde_json::to_string(session).map_err(|e| fault("writing a session", e))?;
        let rank = session.seen_at.0.saturating_add(if session.is_open { OPEN_RANK } else { 0 });
        let mut call = script.prepare_invoke();
        call.key(session_key(&session.key)).key(ENDS).key(RANK);
        call.arg(&session.key.0).arg(session.version).arg(document).arg(session.expires_at.0).arg(rank);
        call.arg(forget_at(session.expires_at)).arg(session.holder()).arg(seen);
        self.link.run(doing, |mut redis| async move { call.invoke_async(&mut redis).await }).await
    }

    /// Repeat a script that removes a chunk until there is nothing to remove.
    async fn clean_with(&self, script: &Script, keys: &[&str], args: [&str; 2]) -> Result<u64, Fault> {
        let mut removed = 0;
        loop {
            let mut call = script.prepare_invoke();
            for key in keys {
                call.key(*key);
            }
            call.arg(&args).arg(CHUNK);
            let cleaning = self.link.run("cleaning sessions", |mut redis| async move {
                call.invoke_async::<u64>(&mut redis).await
            });
            match cleaning.await? {
                0 => return Ok(removed),
                n => removed += n,
            }
        }
    }
}

impl RedisSessions {
    /// [ENG-156] Remove so many sessions, each of the holder that holds most. Rejected: a sorted set for each holder, which
    /// every change of a session would have to keep in step; this looks at all of them, and only when there are too many.
    async fn clean_beyond(&self, beyond: u64) -> Result<u64, Fault> {
        let ranks = self.link.run("looking at all sessions", |mut redis| async move {
            redis.zrange_withscores::<_, Vec<(String, f64)>>(RANK, 0, -1).await
        });
        let mut held = Vec::new();
        for chunk in ranks.await?.chunks(CHUNK as usize) {
            let mut asking = redis::pipe();
            for (key, _) in chunk {
                asking.hget(format!("{SESSION}{key}"), "holder");
            }
            let holders = self.link.run("looking at all sessions", |mut redis| async move {
                asking.query_async::<Vec<Option<String>>>(&mut redis).await
            });
            for ((key, rank), holder) in chunk.iter().zip(holders.await?) {
                #[expect(clippy::cast_possible_truncation, reason = "ranks are whole and below 2^53")]
                let rank = *rank as i64;
                held.push(Held {
                    holder: holder.unwrap_or_default(),
                    is_open: rank >= OPEN_RANK,
                    seen_at: rank,
                    key: (key.clone(), rank),
                });
            }
        }
        let mut removed = 0;
        for chunk in surplus(held, usize::try_from(beyond).unwrap_or(usize::MAX)).chunks(CHUNK as usize) {
            let mut call = CLEAN_CHOSEN_SCRIPT.prepare_invoke();
            call.key(ENDS).key(RANK).arg(SESSION);
            for (key, rank) in chunk {
                call.arg(key).arg(*rank);
            }
            let cleaning = self.link.run("cleaning sessions", |mut redis| async move {
                call.invoke_async::<u64>(&mut redis).await
            });
            removed += cleaning.await?;
        }
        Ok(removed)
    }
}

fn fault(doing: &'static str, cause: impl fmt::Display) -> Fault {
    Fault::new(Component::Sessions, doing, cause)
}

fn session_key(key: &SessionKey) -> String {
    format!("{SESSION}{}", key.0)
}

fn forget_at(end: Timestamp) -> i64 {
    end.plus(SLACK).0.min(LATEST)
}

/// Told here, since whoever goes on without does not tell it.
fn parsed(key: &SessionKey, document: Option<String>) -> Result<Option<Session>, Fault> {
    document.map(|text| serde_json::from_str(&text)).transpose().map_err(|error| {
        tracing::error!(session = key.short(), %error, "a session in Redis cannot be read");
        fault("reading a session", error)
    })
}

#[async_trait]
impl Sessions for RedisSessions {
    async fn find(&self, key: &SessionKey) -> Result<Option<Session>, Fault> {
        let stored = session_key(key);
        let finding = self.link.run("finding a session", |mut redis| async move {
            redis.hget::<_, _, Option<String>>(stored, "document").await
        });
        parsed(key, finding.await?)
    }

    async fn record(&self, session: Session) -> Result<(), Fault> {
        self.put("recording a session", &RECORD_SCRIPT, &session, None).await
    }

    async fn replace(&self, session: Session, seen: u64) -> Result<Replaced, Fault> {
        let done = self.put::<bool>("changing a session", &REPLACE_SCRIPT, &session, Some(seen)).await?;
        Ok(if done { Replaced::Done } else { Replaced::Stale })
    }

    async fn remove(&self, key: &SessionKey) -> Result<bool, Fault> {
        let mut call = REMOVE_SCRIPT.prepare_invoke();
        call.key(session_key(key)).key(ENDS).key(RANK).arg(&key.0);
        self.link
            .run("removing a session", |mut redis| async move { call.invoke_async(&mut redis).await })
            .await
    }

    async fn bind(&self, token: &Fingerprint, name: &Name, until: Timestamp) -> Result<Name, Fault> {
        let mut call = BIND_SCRIPT.prepare_invoke();
        call.key(format!("{BINDING}{}", token.0)).key(BINDING_ENDS);
        call.arg(&token.0).arg(name.as_str()).arg(until.0).arg(forget_at(until));
        let binding = self
            .link
            .run("binding a token", |mut redis| async move { call.invoke_async::<String>(&mut redis).await });
        binding.await.map(Name)
    }

    async fn clean(&self, now: Timestamp, most: u64) -> Result<u64, Fault> {
        let now = now.0.to_string();
        self.clean_with(&CLEAN_ENDED_SCRIPT, &[BINDING_ENDS], [BINDING, &now]).await?;
        let ended = self.clean_with(&CLEAN_ENDED_SCRIPT, &[ENDS, RANK], [SESSION, &now]).await?;
        let beyond = self.count().await?.saturating_sub(most);
        let beyond = if beyond == 0 { 0 } else { self.clean_beyond(beyond).await? };
        Ok(ended + beyond)
    }

    fn sees_all(&self) -> bool {
        self.link.is_up()
    }

    async fn count(&self) -> Result<u64, Fault> {
        self.link.run("counting sessions", |mut redis| async move { redis.zcard(ENDS).await }).await
    }
}

#[async_trait]
impl Remote for RedisSessions {
    async fn restore(&self, session: &Session) -> Result<Option<Session>, Fault> {
        let stored = self.put("restoring a session", &RESTORE_SCRIPT, session, None).await?;
        parsed(&session.key, stored)
    }
}
