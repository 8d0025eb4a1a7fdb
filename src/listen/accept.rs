//! The loop that accepts connections.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use http::uri::Scheme;
use salvo::{ConnCtrl, Service, conn::SocketAddr as SalvoAddr, hyper::service::Service as HyperService};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

use super::{Admission, Shared, connection, sometimes::Sometimes};

/// Waits after an error of accept, growing from the first to the last while errors follow each other.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// While no descriptor is left, so long until the next look; the system's backlog holds the clients.
const FULL: Duration = Duration::from_millis(20);
/// A connection counts for its socket and for the file of its request.
const PER_CONNECTION: u64 = 2;

/// Accept and serve connections until the stop; then wait for the open ones, until they have ended or the end is forced.
///
/// # Errors
/// When the listener has no address.
pub async fn serve(listener: TcpListener, service: Service, shared: Arc<Shared>) -> io::Result<()> {
    let local = listener.local_addr()?;
    let settings = &shared.settings;
    let admission = Admission::new(settings.per_address, settings.exempt.clone());
    let service = Arc::new(service);
    let (errors, refusals, stalls) =
        (Sometimes::default(), Sometimes::default(), Arc::<Sometimes>::default());
    let mut open = JoinSet::new();
    let mut back_off = BACK_OFF.0;
    loop {
        while open.try_join_next().is_some() {}
        // [ENG-120] clients wait in the backlog until a connection ends
        let Some(share) = shared.descriptors.take(PER_CONNECTION) else {
            tokio::select! {
                () = shared.stop.drain.cancelled() => break,
                _ = open.join_next(), if !open.is_empty() => {}
                () = sleep(FULL) => {}
            }
            continue;
        };
        let accepted = tokio::select! {
            () = shared.stop.drain.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            // [ENG-122] out of descriptors or memory: no busy loop, and no line for each try
            Err(cause) => {
                shared.metrics.connection_refused("error");
                if let Some(left_out) = errors.may_say(Instant::now()) {
                    tracing::error!(%cause, left_out, "a connection cannot be accepted");
                }
                tokio::select! {
                    () = shared.stop.drain.cancelled() => break,
                    () = sleep(back_off) => {}
                }
                back_off = (back_off * 2).min(BACK_OFF.1);
                continue;
            }
        };
        back_off = BACK_OFF.0;
        let Some(entry) = admission.enter(peer.ip()) else {
            shared.metrics.connection_refused("address");
            if let Some(left_out) = refusals.may_say(Instant::now()) {
                tracing::warn!(
                    address = %peer.ip(), left_out,
                    "refused a connection: its address has as many as [server] max_connections_per_address allows"
                );
            }
            continue;
        };
        let (shared, service, stalls) = (Arc::clone(&shared), Arc::clone(&service), Arc::clone(&stalls));
        open.spawn(async move {
            let (_entry, _share) = (entry, share);
            one(socket, (local, peer), &service, shared, &stalls).await;
        });
    }
    // New connections are refused from here on, not left waiting.
    drop(listener);
    tokio::select! {
        () = async { while open.join_next().await.is_some() {} } => {}
        () = shared.stop.force.cancelled() => {}
    }
    Ok(())
}

async fn one(
    socket: TcpStream,
    (local, peer): (SocketAddr, SocketAddr),
    service: &Service,
    shared: Arc<Shared>,
    stalls: &Sometimes,
) {
    let metrics = Arc::clone(&shared.metrics);
    let handler = service.hyper_handler(
        SalvoAddr::from(local),
        SalvoAddr::from(peer),
        Scheme::HTTP,
        None,
        ConnCtrl::new(),
        None,
    );
    let handler = Arc::new(move |request| HyperService::call(&handler, request));
    metrics.connections(1);
    let counted = Counted(&metrics);
    let ending = connection::serve(socket, handler, shared, stalls).await;
    drop(counted);
    metrics.connection_closed(ending.map_or("client", super::activity::Ending::word));
}

/// An open connection in the metrics, also when its task is dropped.
struct Counted<'a>(&'a crate::telemetry::Metrics);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.connections(-1);
    }
}
