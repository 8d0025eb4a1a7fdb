//! The listeners: what is asked of their connections, and how they end.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderValue, StatusCode, header};
use salvo::{Depot, FlowCtrl, Handler, Request, Response, Router, Service, async_trait};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::{signal::unix, task::JoinHandle};

use super::ServeError;
use crate::{
    config::Config,
    engine::Engine,
    listen::{self, Budget, Descriptors, Settings, Shared, Stop},
    telemetry::Metrics,
    wire::{
        House,
        early::Early,
        reply::{Content, Reply},
    },
};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// A peer that vanished is noticed after so long without a byte.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// What handlers get to answer once their writers have been cut.
const AFTER_CUT: Duration = Duration::from_secs(2);
/// Connections of the metrics listener.
const METRICS_CONNECTIONS: u64 = 16;

pub(super) fn listen(
    address: SocketAddr,
    section: &'static str,
) -> Result<tokio::net::TcpListener, ServeError> {
    let open = || -> io::Result<tokio::net::TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        // Accepted sockets inherit both.
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4))?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        tokio::net::TcpListener::from_std(socket.into())
    };
    open().map_err(|source| ServeError::Listen { address, section, source })
}

/// What the connections of the public listener share.
pub(super) fn shared(config: &Config, house: &House, descriptors: Descriptors, stop: Stop) -> Arc<Shared> {
    let server = &config.server;
    let possible = descriptors.connections();
    let connections = match u64::from(server.max_connections) {
        0 => possible,
        wanted => wanted.min(possible),
    };
    if u64::from(server.max_connections) > possible {
        tracing::warn!(
            limit = descriptors.limit,
            connections,
            "the limit of open files allows fewer connections than [server] max_connections; raise the hard limit \
             (LimitNOFILE of systemd, ulimit -Hn)"
        );
    }
    // [ENG-121] no address gets more than half
    let half = u32::try_from(connections / 2).unwrap_or(u32::MAX).max(1);
    let per_address = match server.max_connections_per_address {
        0 => 0,
        wanted => wanted.min(half),
    };
    let exempt = [server.trusted_proxies.as_slice(), config.abuse.allow.as_slice()].concat();
    tracing::info!(open_files = descriptors.limit, connections, per_address, "bounds of connections");
    let settings = Settings { per_address, exempt, ..settings(config) };
    Arc::new(Shared {
        settings,
        metrics: Arc::clone(&house.metrics),
        clock: Arc::clone(&house.clock),
        early: Early::new(house.cors.clone()),
        descriptors: Budget::new(connections * 2),
        receive: Budget::new(config.store.buffer_memory.bytes() / 2),
        stop,
    })
}

fn settings(config: &Config) -> Settings {
    let server = &config.server;
    Settings {
        header_timeout: server.header_timeout.duration(),
        keep_alive_timeout: server.keep_alive_timeout.duration(),
        write_stall_timeout: server.write_stall_timeout.duration(),
        max_head: server.max_head_size.in_memory(),
        read_buffer: server.read_buffer.in_memory(),
        http2: server.http2,
        http2_streams: server.http2_streams,
        http2_window: u32::try_from(server.http2_window.bytes()).unwrap_or(u32::MAX >> 1).min(u32::MAX >> 1),
        per_address: 0,
        exempt: Vec::new(),
    }
}

/// The signals that stop the server. Listened for before it says that it is ready: from then on none may kill it.
pub(super) struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(unix::SignalKind::terminate())?,
            interrupt: unix::signal(unix::SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// First signal: no new connections, running requests get `drain` to end, then they are cut and kept. Second
/// signal: out at once.
pub(super) async fn stop_on_signal(mut signals: Signals, stop: Stop, engine: Engine, drain: Duration) {
    signals.next().await;
    tracing::info!(
        writers = engine.writers(),
        seconds = drain.as_secs(),
        "stopping: running requests may end; a second signal ends at once"
    );
    // [ENG-125] idle connections close now, the listener with them
    stop.drain.cancel();
    tokio::select! {
        () = tokio::time::sleep(drain) => {
            // Cutting the writers first lets their handlers answer before the connections are closed under them.
            engine.cut();
            tokio::time::sleep(AFTER_CUT).await;
            stop.force.cancel();
        }
        () = signals.next() => {
            tracing::warn!("second signal: ending at once; bytes since the last checkpoint are lost");
            #[allow(clippy::exit, reason = "the operator asked for it twice")]
            std::process::exit(1);
        }
    }
    signals.next().await;
    #[allow(clippy::exit, reason = "the operator asked for it twice")]
    std::process::exit(1);
}

struct Figures(Arc<Metrics>);

#[async_trait]
impl Handler for Figures {
    async fn handle(&self, _: &mut Request, _: &mut Depot, res: &mut Response, _: &mut FlowCtrl) {
        let mut reply = Reply::new(StatusCode::OK).no_store();
        reply.headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
        );
        reply.content = Content::Whole(self.0.render().into());
        reply.write(res);
    }
}

/// Serve the metrics until the task is ended.
pub(super) fn serve_metrics(
    config: &Config,
    house: &House,
) -> Result<(SocketAddr, JoinHandle<()>), ServeError> {
    let listener = listen(config.metrics.listen, "metrics")?;
    let address = listener
        .local_addr()
        .map_err(|source| ServeError::System { doing: "reading the address", source })?;
    let service = Service::new(Router::with_path("metrics").get(Figures(Arc::clone(&house.metrics))));
    let shared = Arc::new(Shared {
        settings: settings(config),
        // Its connections are not those that the metrics are about.
        metrics: Metrics::new(),
        clock: Arc::clone(&house.clock),
        early: Early::new(house.cors.clone()),
        descriptors: Budget::new(METRICS_CONNECTIONS * 2),
        receive: Budget::new(0),
        stop: Stop::default(),
    });
    let task = tokio::spawn(async move {
        if let Err(error) = listen::serve(listener, service, shared).await {
            tracing::error!(%error, "the metrics listener ended");
        }
    });
    Ok((address, task))
}
