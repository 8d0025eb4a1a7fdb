//! A connection to one Redis server that may be away: the parts that use it go on in memory meanwhile.
//!
//! ```text
//!   up ── a command fails, or takes longer than the timeout ──> away ── once a second one caller asks ──> up
//!                                                                 └── everybody else is told so at once
//! ```
//!
//! Who asks whether Redis is back writes a short-lived key first: a Redis that is full, a read-only replica or still
//! loading its data answers reads, and would seem to come and go with every other command.
//!
//! Rejected: the connection manager of the crate `redis`. It reconnects in the background with pauses of its own, and
//! while it does, each request would wait for a whole timeout.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult, aio::MultiplexedConnection};

use crate::{
    fault::{Component, Fault},
    telemetry::Metrics,
};

/// While Redis is away one caller in so long asks whether it is back.
pub const PROBE_EVERY: Duration = Duration::from_secs(1);
/// A connection that rested for so long is asked for a sign of life first: the other side may have closed it.
const RESTED: Duration = Duration::from_secs(2);

/// What a connection is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Up,
    Away { ask_at: Instant },
}

#[derive(Debug)]
struct Status {
    state: State,
    /// Counts how often Redis went away. A command, or a connection, of an earlier count says nothing about now.
    epoch: u64,
}

/// A connection that was made.
struct Open {
    connection: MultiplexedConnection,
    used_at: Instant,
    /// The count of [`Status::epoch`] when it was made.
    epoch: u64,
}

/// See the module's page.
pub struct Link {
    client: Client,
    timeout: Duration,
    part: Component,
    metrics: Arc<Metrics>,
    status: Mutex<Status>,
    open: tokio::sync::Mutex<Option<Open>>,
}

impl fmt::Debug for Link {
    /// Without the client, whose URL may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("part", &self.part.word())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Link {
    /// A link for one part of the server to the Redis at `url`. It connects when it is first used, so that the server
    /// starts while Redis is down. No command takes longer than `timeout`, connecting included.
    ///
    /// # Errors
    /// When `url` is no URL of a Redis server.
    pub fn new(url: &str, timeout: Duration, part: Component, metrics: Arc<Metrics>) -> Result<Self, Fault> {
        let client =
            Client::open(url).map_err(|error| Fault::new(part, "reading the URL of Redis", error))?;
        metrics.redis_degraded(part.word(), false);
        let status = Mutex::new(Status { state: State::Up, epoch: 0 });
        Ok(Self { client, timeout, part, metrics, status, open: tokio::sync::Mutex::new(None) })
    }

    /// Whether Redis was there when it was last asked.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.status().state == State::Up
    }

    /// Run a command, or several, on the connection.
    ///
    /// # Errors
    /// When Redis refuses, does not answer within the timeout, or is known to be away; the latter at once.
    pub async fn run<T, F, A>(&self, doing: &'static str, command: F) -> Result<T, Fault>
    where
        F: FnOnce(MultiplexedConnection) -> A + Send,
        A: Future<Output = RedisResult<T>> + Send,
        T: Send,
    {
        let fault = |cause: &dyn fmt::Display| Fault::new(self.part, doing, cause);
        let (epoch, is_probe) = self.admit().ok_or_else(|| fault(&"Redis is away"))?;
        let answer = tokio::time::timeout(self.timeout, async {
            let mut connection = self.connection(epoch).await?;
            if is_probe {
                let key = format!("plimsoll:probe:{}", self.part.word());
                let mut probe = redis::cmd("SET");
                probe.arg(key).arg(1).arg("PX").arg(1_000);
                probe.query_async::<()>(&mut connection).await?;
                self.is_back(epoch);
            }
            command(connection).await
        });
        let cause = match answer.await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {:?}", self.timeout),
        };
        self.is_away(epoch, &cause);
        Err(fault(&cause))
    }

    /// The epoch of a command that may go on, and whether it is the one that asks; `None` while Redis is away.
    fn admit(&self) -> Option<(u64, bool)> {
        let mut status = self.status();
        let is_probe = match status.state {
            State::Up => false,
            State::Away { ask_at } if ask_at <= Instant::now() => {
                // Should its caller go away meanwhile, another one asks after this.
                status.state = State::Away { ask_at: Instant::now() + self.timeout + PROBE_EVERY };
                true
            }
            State::Away { .. } => return None,
        };
        Some((status.epoch, is_probe))
    }

    async fn connection(&self, epoch: u64) -> RedisResult<MultiplexedConnection> {
        let mut open = self.open.lock().await;
        if self.status().epoch != epoch {
            // Somebody found out while this command waited for the lock.
            return Err(RedisError::from((redis::ErrorKind::Io, "Redis went away")));
        }
        let mut living = None;
        if let Some(Open { mut connection, used_at, epoch: made_in }) = open.take()
            && made_in == epoch
            && (used_at.elapsed() < RESTED
                || redis::cmd("PING").query_async::<()>(&mut connection).await.is_ok())
        {
            living = Some(connection);
        }
        let connection = match living {
            Some(connection) => connection,
            None => {
                // `run` bounds it all.
                let config =
                    AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
                self.client.get_multiplexed_async_connection_with_config(&config).await?
            }
        };
        *open = Some(Open { connection: connection.clone(), used_at: Instant::now(), epoch });
        Ok(connection)
    }

    fn is_back(&self, epoch: u64) {
        let mut status = self.status();
        if status.epoch == epoch && status.state != State::Up {
            status.state = State::Up;
            self.metrics.redis_degraded(self.part.word(), false);
            tracing::info!(part = self.part.word(), "Redis is back");
        }
    }

    fn is_away(&self, epoch: u64, cause: &str) {
        let mut status = self.status();
        if status.epoch != epoch {
            return;
        }
        let was_up = status.state == State::Up;
        status.state = State::Away { ask_at: Instant::now() + PROBE_EVERY };
        if was_up {
            status.epoch += 1;
            self.metrics.redis_outage(self.part.word());
            self.metrics.redis_degraded(self.part.word(), true);
            tracing::warn!(part = self.part.word(), cause, "Redis is away; going on in memory");
        }
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
