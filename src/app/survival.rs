//! Makes the parts that let an upload survive: sessions, grace, bans, and the names of networks and clients.

use std::{sync::Arc, time::Duration};

use crate::{
    auth,
    clock::Clock,
    config::{self, Config},
    fault::{Component, Fault},
    guard::{Guard, Limits, memory::MemoryGuard, redis::RedisGuard},
    ledger::sqlite::SqliteLedger,
    redis_link::Link,
    session::{Grace, Keeper, Policy, Sessions, fallback::Fallback, redis::RedisSessions},
    telemetry::Metrics,
};

fn link(config: &Config, part: Component, metrics: &Arc<Metrics>) -> Result<Link, Fault> {
    // Validation refuses a backend of Redis without a URL.
    let url = config.redis.url.as_ref().map(config::RedisUrl::expose).unwrap_or_default();
    Link::new(url, config.redis.timeout.duration(), part, Arc::clone(metrics))
}

/// Where sessions are kept.
///
/// # Errors
/// A URL of Redis that is none.
pub(super) fn store(
    config: &Config,
    ledger: &SqliteLedger,
    metrics: &Arc<Metrics>,
) -> Result<Arc<dyn Sessions>, Fault> {
    Ok(match config.session.backend {
        config::SessionBackend::Ledger => Arc::new(ledger.sessions()),
        config::SessionBackend::Redis => {
            let link = link(config, Component::Sessions, metrics)?;
            let remote = Arc::new(RedisSessions::new(link));
            Arc::new(Fallback::new(remote, config.session.max_sessions as usize))
        }
    })
}

/// The sessions themselves; `None` when they are switched off.
pub(super) fn keeper(
    config: &Config,
    store: &Arc<dyn Sessions>,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Option<Arc<Keeper>> {
    let session = &config.session;
    let policy = Policy {
        max_age: session.max_age.duration(),
        max_refreshes: session.max_refreshes,
        token_lifetime: session.token_lifetime.duration(),
        max_uploads: session.max_uploads as usize,
        max_sessions: u64::from(session.max_sessions),
        unclaimed_age: session.unclaimed_age.duration(),
    };
    let keeper = || Keeper::new(Arc::clone(store), policy, Arc::clone(clock), Arc::clone(metrics));
    session.enabled.then(|| Arc::new(keeper()))
}

/// Time after a token's expiry.
pub(super) fn grace(config: &Config) -> Grace {
    let grace = &config.grace;
    Grace {
        enabled: grace.enabled,
        desktop: grace.desktop.duration(),
        mobile: grace.mobile.duration(),
        other: grace.other.duration(),
        restoration: grace.restoration.duration(),
        ceiling: grace.ceiling.duration(),
    }
}

/// How ejabberd's Bearer tokens are dated.
pub(super) fn bearer(config: &Config) -> auth::Rules {
    let millis = |period: config::Period| i64::try_from(period.duration().as_millis()).unwrap_or(i64::MAX);
    auth::Rules {
        bearer_lifetime_ms: millis(config.slots.bearer_lifetime),
        bearer_resilient_lifetime_ms: millis(config.slots.bearer_resilient_lifetime),
        presigned_headers_in_query: config.slots.presigned_headers_in_query,
    }
}

/// Who counts failures and rates.
///
/// # Errors
/// A URL of Redis that is none.
pub(super) fn guard(
    config: &Config,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Result<Arc<dyn Guard>, Fault> {
    let limits = Limits::new(&config.abuse);
    Ok(match config.abuse.backend {
        config::AbuseBackend::Memory => {
            Arc::new(MemoryGuard::new(limits, Arc::clone(clock), Arc::clone(metrics)))
        }
        config::AbuseBackend::Redis => {
            let link = link(config, Component::Abuse, metrics)?;
            Arc::new(RedisGuard::new(limits, link, Arc::clone(clock), Arc::clone(metrics)))
        }
    })
}

/// Remove ended sessions, and those beyond the number that is kept, for ever.
pub(super) async fn clean(keeper: Arc<Keeper>, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        match keeper.clean().await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "removed sessions that had ended, or were too many"),
            Err(fault) => tracing::error!(%fault, "cleaning up sessions"),
        }
    }
}
