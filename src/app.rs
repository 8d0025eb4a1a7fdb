//! The composition root: the one place where the parts are made and put together, and where the server's life is
//! told from the first line printed to the last byte kept.

mod listening;
mod pairing;
mod reload;
mod survival;

use std::{
    io::{self, IsTerminal as _, Write as _},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use http::HeaderValue;

use self::{
    listening::{Signals, listen, stop_on_signal},
    pairing::Pair,
};
use crate::{
    auth::{KeyringError, Keys},
    blobs::disk::{DiskBlobs, DiskOptions, Durability},
    cli::{Slot, SlotRequest, listen_advice},
    clock::{Clock, SystemClock},
    config::{self, Config, Loaded, SecretsError, Size},
    engine::{Engine, Error, Parts, Settings},
    fault::Fault,
    leases::local::LocalLeases,
    ledger::{Ledger as _, sqlite::SqliteLedger},
    listen::{Stop, raise_open_files},
    network::{Agents, Networks},
    telemetry::{Audit, AuditError, LogHandle, Metrics},
    wire::{
        Access, Create, Door, House, Realm, cors::Cors, creation_rate::CreationRate, front, peer::Proxies,
        visit::Remembered,
    },
};

/// Time between two scans for blobs that no upload refers to; the first is at the start.
const ORPHANS_EVERY: Duration = Duration::from_secs(24 * 3600);
/// What the example uploads.
const HELLO: &str = "Hello, Plimsoll";

/// Why the server cannot run. Each text says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error("[{section}] listen: {address} {}\n    to do: {}", listen_advice(.source).0, listen_advice(.source).1)]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// `server` or `metrics`.
        section: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The secrets cannot be had.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// A secret is of no use.
    #[error("{0}\n    to do: correct secret, secrets or secret_file in [slots]")]
    Keyring(#[from] KeyringError),
    /// The store or the ledger cannot be opened.
    #[error("{}", with_advice(.0))]
    Store(#[from] Fault),
    /// Recovery failed.
    #[error("recovery failed: {0}")]
    Recovery(Error),
    /// The audit log cannot be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The system refused something.
    #[error("{doing}: {source}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// The text of a fault at the start. A cause that says what to do is left as it is.
fn with_advice(fault: &Fault) -> String {
    if fault.cause.contains("to do: ") {
        return fault.to_string();
    }
    format!(
        "{fault}\n    to do: see that [store] path and [ledger] url lie on a disk that the server's user may write"
    )
}

/// The engine's settings, from the configuration.
#[must_use]
pub fn settings(config: &Config) -> Settings {
    let limits = &config.limits;
    let age = config.retention.max_age.duration();
    Settings {
        max_size: config.store.max_size.bytes(),
        checkpoint_bytes: config.store.checkpoint_bytes.bytes(),
        checkpoint_interval: config.store.checkpoint_interval.duration(),
        body_gap: limits.body_gap.duration(),
        least_rate: limits.least_rate.bytes(),
        fence_timeout: limits.fence_timeout.duration(),
        silent_writer: limits.silent_writer.duration(),
        max_parts: usize::try_from(config.tus.max_parts).unwrap_or(usize::MAX),
        partial_expires: config.tus.partial_expires.duration(),
        incomplete_expires: limits.incomplete_expires.duration(),
        retention: (!age.is_zero()).then_some(age),
        own_names: config.tus.enabled.then(|| config.tus.base_path.as_str().to_owned()),
        forget_after: config.tus.forget_after.duration(),
    }
}

/// The realms with these secrets, which are in the same order.
///
/// # Errors
/// When a secret is of no use.
fn realms(config: &Config, secrets: &[reload::Guarded]) -> Result<Vec<Realm>, ServeError> {
    let tus = &config.tus;
    let files = Door::Files {
        create: match tus.create {
            config::Create::Grant => Create::Grant,
            config::Create::Open => Create::Open,
        },
        access: match tus.access {
            config::Access::Url => Access::Url,
            config::Access::Grant => Access::Grant,
        },
    };
    let slots = 1 + config.slots_also.len();
    let also = config.slots_also.iter().map(|also| also.download_path.as_ref());
    let mut aliases = std::iter::once(config.slots.download_path.as_ref()).chain(also);
    let doors = std::iter::repeat_n((Door::Slots, config.slots.delete_complete), slots)
        .chain([(files, tus.delete_complete)]);
    let realm = |(guarded, (door, may_delete_complete)): (&reload::Guarded, _)| {
        let keys = Keys::new(reload::ring(guarded)?);
        let download_path = aliases.next().flatten().map(|path| path.as_str().to_owned());
        Ok(Realm { base_path: guarded.0.as_str().to_owned(), download_path, keys, door, may_delete_complete })
    };
    secrets.iter().zip(doors).map(realm).collect()
}

/// Put the parts together, and recover what the last run left.
///
/// # Errors
/// When a part cannot be opened.
pub async fn assemble(
    config: &Config,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
) -> Result<Arc<House>, ServeError> {
    let secrets = reload::secrets(config)?;
    Ok(house(config, &secrets, clock, metrics).await?.0)
}

/// Open the store and the ledger, and lock both.
async fn open_stores(
    config: &Config,
    metrics: &Arc<Metrics>,
) -> Result<(Arc<SqliteLedger>, Arc<DiskBlobs>), Fault> {
    let options = DiskOptions {
        path: config.store.path.clone(),
        durability: match config.store.durability {
            config::Durability::Full => Durability::Full,
            config::Durability::Relaxed => Durability::Relaxed,
        },
        reserve: config.store.reserve.bytes(),
        // The other half is for what connections hold; see `listening`.
        buffer_memory: config.store.buffer_memory.bytes() / 2,
    };
    let blobs = DiskBlobs::open(&options, Arc::clone(metrics))?;
    let (url, ballast) = (config.ledger_url(), config.ledger.ballast.bytes());
    let ledger = SqliteLedger::open_with(url.as_str(), ballast, Arc::clone(metrics)).await?;
    Ok((Arc::new(ledger), Arc::new(blobs)))
}

/// [ENG-48] Tie the ledger and the store of this configuration together, whatever they hold; for `plimsoll adopt`.
///
/// # Errors
/// When one of them cannot be opened or written.
pub async fn adopt(config: &Config) -> Result<String, ServeError> {
    let (ledger, blobs) = open_stores(config, &Metrics::new()).await?;
    let adopted = pairing::adopt(&ledger, &blobs, SystemClock.now()).await;
    ledger.close().await;
    Ok(adopted?)
}

async fn house(
    config: &Config,
    secrets: &[reload::Guarded],
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
) -> Result<(Arc<House>, Pair), ServeError> {
    let audit = Audit::open(config.audit.file.as_deref(), Arc::clone(&metrics))?;
    let realms = realms(config, secrets)?;
    // [ENG-45] before anything is made, recovered, swept or served
    pairing::compare(config, None)?;
    let (ledger, blobs) = open_stores(config, &metrics).await?;
    let pair = Pair::new(Arc::clone(&ledger), Arc::clone(&blobs));
    pair.check(config, clock.now()).await?;
    let bindings = survival::store(config, &ledger, &metrics)?;
    let parts = Parts {
        ledger,
        blobs,
        leases: Arc::new(LocalLeases::new()),
        clock: Arc::clone(&clock),
        metrics: Arc::clone(&metrics),
    };
    let engine = Engine::new(parts, settings(config));
    match engine.recover().await {
        Ok(recovered) => {
            tracing::info!(incomplete = recovered.receiving, lowered = recovered.lowered, "recovered");
        }
        // [ENG-52] what is there is served
        Err(Error::Fault(fault)) if fault.full => {
            tracing::error!(%fault, "the disk is full, so recovery is not done before the next start");
        }
        Err(error) => return Err(ServeError::Recovery(error)),
    }
    let cors =
        Cors {
            origins: config.cors.allow_origin.named().map(|origins| {
                origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect()
            }),
            allow_credentials: config.cors.allow_credentials,
            max_age: config.cors.max_age.duration().as_secs(),
        };
    let house = House {
        engine,
        realms,
        sessions: survival::keeper(config, &bindings, &clock, &metrics),
        bindings,
        remembered: Remembered::default(),
        grace: survival::grace(config),
        bearer: survival::bearer(config),
        guard: survival::guard(config, &clock, &metrics)?,
        networks: Networks::new(&config.network.classes),
        agents: Agents::new(&config.grace.desktop_agents, &config.grace.mobile_agents),
        audit,
        clock,
        metrics,
        cors,
        public_url: config.server.public_url.as_ref().map(|url| url.as_str().to_owned()),
        proxies: Proxies::new(config.server.trusted_proxies.clone(), config.server.forwarded_header),
        creations: CreationRate::new(config.tus.creations_per_minute, config.tus.creation_wait.duration()),
        max_size: config.store.max_size.bytes(),
    };
    Ok((Arc::new(house), pair))
}

/// Run until a signal ends it.
///
/// # Errors
/// When it cannot start; once it listens, it ends without one.
pub async fn serve(loaded: &Loaded, log: &LogHandle) -> Result<(), ServeError> {
    let config = &loaded.config;
    // [ENG-65] a write beyond the limit of the file size (ulimit -f) is to fail, and not to end the server
    let _file_size = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::from_raw(libc::SIGXFSZ))
        .map_err(|source| ServeError::System { doing: "listening for SIGXFSZ", source })?;
    let metrics = Metrics::new();
    let descriptors = raise_open_files();
    for name in &loaded.ignored {
        tracing::warn!(name, "this environment variable sets no key; `plimsoll config` lists every key");
    }
    let secrets = reload::secrets(config)?;
    let (house, pair) = house(config, &secrets, Arc::new(SystemClock), Arc::clone(&metrics)).await?;
    let (engine, keeper) = (house.engine.clone(), house.sessions.clone());

    let listener = listen(config.server.listen, "server")?;
    let address = listener
        .local_addr()
        .map_err(|source| ServeError::System { doing: "reading the address", source })?;
    let figures = if config.metrics.enabled { Some(listening::serve_metrics(config, &house)?) } else { None };
    let stop = Stop::default();
    let shared = listening::shared(config, &house, descriptors, stop.clone());
    let sweeper = tokio::spawn(sweep(Arc::clone(&house), config.limits.sweep_interval.duration()));
    let counting = tokio::spawn(pair.clone().count_on_hourly());
    let cleaner = keeper
        .clone()
        .map(|keeper| tokio::spawn(survival::clean(keeper, config.session.cleanup_interval.duration())));
    let signals = Signals::listen()
        .map_err(|source| ServeError::System { doing: "listening for SIGTERM and SIGINT", source })?;
    let drain = config.server.drain_timeout.duration();
    let stopping = tokio::spawn(stop_on_signal(signals, stop, engine.clone(), drain));
    let reloading = reload::watch(loaded, secrets, Arc::clone(&house), log.clone(), house.audit.clone())
        .map_err(|source| ServeError::System { doing: "listening for SIGHUP", source })?;
    announce(config, address, figures.as_ref().map(|(address, _)| *address), &SystemClock);
    let served = crate::listen::serve(listener, front::service(house), shared).await;
    // The listener is closed and every handler is gone; their appends commit what they have.
    if let Some(keeper) = keeper {
        keeper.settle().await;
    }
    counting.abort();
    pair.count_on().await;
    engine.stop().await;
    sweeper.abort();
    if let Some(cleaner) = cleaner {
        cleaner.abort();
    }
    stopping.abort();
    reloading.abort();
    if let Some((_, task)) = figures {
        task.abort();
    }
    tracing::info!("stopped; every prefix is kept");
    served.map_err(|source| ServeError::System { doing: "serving", source })
}

/// What the ledger holds, for `plimsoll check`; changes nothing.
///
/// # Errors
/// When it is there and cannot be read.
pub async fn inspect_ledger(config: &Config) -> Result<String, Fault> {
    let (found, store) = SqliteLedger::inspect(config.ledger_url().as_str()).await?;
    pairing::compare(config, store.as_deref())?;
    Ok(found)
}

async fn sweep(house: Arc<House>, interval: Duration) {
    let engine = &house.engine;
    match engine.retired().await {
        Ok(due) if due.uploads > 0 => tracing::warn!(
            files = due.uploads,
            bytes = due.bytes,
            seconds = interval.as_secs(),
            "the first sweep will remove complete files that are older than [retention] max_age; stop the server \
             before it to keep them"
        ),
        Ok(_) => {}
        Err(error) => tracing::error!(%error, "counting what retention removes"),
    }
    // Not at once: an operator who mistyped has one interval.
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + interval, interval);
    let mut orphans = tokio::time::interval(ORPHANS_EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = orphans.tick() => {
                match engine.sweep_orphans().await {
                    Ok(0) => {}
                    Ok(moved) => tracing::warn!(moved, "moved blobs that no upload refers to into the folder orphans of the store"),
                    Err(error) => tracing::error!(%error, "looking for orphaned blobs"),
                }
                continue;
            }
        }
        match engine.sweep().await {
            Ok(swept) if !swept.removed.is_empty() => {
                house.record_swept(&swept);
                tracing::info!(expired = swept.expired, retired = swept.retired, "swept");
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "sweeping"),
        }
    }
}

/// The ready lines on standard output; other programs wait for `listening on`.
fn announce(config: &Config, address: SocketAddr, metrics: Option<SocketAddr>, clock: &dyn Clock) {
    let mut lines = format!("listening on http://{address}\n");
    if let Some(metrics) = metrics {
        lines += &format!("metrics on http://{metrics}/metrics\n");
    }
    if !io::stdout().is_terminal() {
        // The example holds a token that is good: a log that others read is no place for it.
        lines += "\nTry it: `plimsoll slot FILE` prints a URL to upload a file to, with its token.\n";
        return tell(&lines);
    }
    let request = SlotRequest {
        name: "hello.txt".into(),
        size: Size::of(HELLO.len() as u64),
        media_type: Some("text/plain".into()),
        user: None,
    };
    match Slot::mint(config, address, &request, clock.now()) {
        Ok(slot) => {
            lines += &format!(
                "\nTry it in another terminal: upload a greeting, and fetch it again.\n  \
                 curl -i -X PUT --data-binary '{HELLO}' -H 'Content-Type: text/plain' '{}'\n  curl '{}'\n",
                slot.put_url, slot.get_url
            );
        }
        Err(error) => tracing::warn!(%error, "no example can be shown"),
    }
    tell(&lines);
}

/// Nobody may be reading; that is no reason to stop.
fn tell(lines: &str) {
    let _ = io::stdout().write_all(lines.as_bytes());
    let _ = io::stdout().flush();
}
