//! One connection: which protocol it speaks, and the watch over it.

use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite},
    sync::watch,
    time::{Duration, timeout},
};

use super::{
    Shared,
    activity::{Activity, Ending, Patience, Watch},
    http1, http2,
    service::{Calls, Handler},
    sometimes::Sometimes,
    stream::Tracked,
};

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// For a connection that was told to end: what it has to say is short.
const GOODBYE: Duration = Duration::from_secs(3);

/// Tells a connection that it shall end.
#[derive(Debug)]
pub(super) struct Orders(watch::Receiver<Option<Ending>>);

impl Orders {
    /// The next order. Pending for ever once nobody can give one.
    pub(super) async fn next(&mut self) -> Ending {
        if self.0.changed().await.is_ok()
            && let Some(ending) = *self.0.borrow_and_update()
        {
            return ending;
        }
        std::future::pending().await
    }
}

/// Serve a connection to its end; the reason, if the server ended it.
pub(super) async fn serve<S>(
    socket: S,
    handler: Handler,
    shared: Arc<Shared>,
    stalls: &Sometimes,
) -> Option<Ending>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::<Activity>::default();
    let (order, orders) = watch::channel(None);
    let calls = Calls { handler, shared: Arc::clone(&shared), activity: Arc::clone(&activity) };
    let mut driven = Box::pin(drive(socket, calls, Orders(orders)));
    let mut watch = Watch::new(&shared.settings);
    let interval = watch.interval();
    let mut is_draining = false;
    let ending = loop {
        tokio::select! {
            () = &mut driven => return None,
            () = shared.stop.drain.cancelled(), if !is_draining => {
                is_draining = true;
                if let Some(ending) = watch.look(&activity, Duration::ZERO, Patience::None) {
                    break ending;
                }
                // Finish what is open, begin nothing.
                order.send_replace(Some(Ending::Drained));
            }
            () = shared.stop.force.cancelled() => return Some(Ending::Forced),
            () = tokio::time::sleep(interval) => {
                let patience = match (is_draining, shared.descriptors.is_used_up()) {
                    (true, _) => Patience::None,
                    (false, true) => Patience::Short,
                    (false, false) => Patience::Usual,
                };
                if let Some(ending) = watch.look(&activity, interval, patience) {
                    break ending;
                }
            }
        }
    };
    if ending == Ending::WriteStall
        && let Some(left_out) = stalls.may_say(Instant::now())
    {
        tracing::info!(left_out, "closed a connection whose client takes nothing of its answer");
    }
    if ending != Ending::WriteStall {
        order.send_replace(Some(ending));
        tokio::select! {
            _ = timeout(GOODBYE, &mut driven) => {}
            () = shared.stop.force.cancelled() => {}
        }
    }
    Some(ending)
}

async fn drive<S>(mut socket: S, calls: Calls, mut orders: Orders)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut first = [0; PREFACE.len()];
    let found = tokio::select! {
        found = tell_protocol(&mut socket, &mut first, &calls.activity) => found,
        ending = orders.next() => {
            if ending == Ending::SlowHead {
                calls.shared.metrics.request("", "none", 408);
                http1::leave(socket, calls.shared.early.head_too_slow()).await;
            }
            return;
        }
    };
    let Ok((size, is_http2)) = found else { return };
    let unread = Bytes::copy_from_slice(first.get(..size).unwrap_or_default());
    let (shared, activity) = (Arc::clone(&calls.shared), Arc::clone(&calls.activity));
    // [ENG-126] without HTTP/2 its preface is a request of HTTP/1, and refused
    let is_http2 = is_http2 && shared.settings.http2;
    activity.is_http2.store(is_http2, Relaxed);
    let io = Tracked::new(socket, unread, shared, activity);
    if is_http2 {
        http2::serve(io, calls, orders).await;
    } else {
        http1::serve(io, calls, orders).await;
    }
}

/// Read until it is certain whether the client speaks HTTP/2: the bytes read, and whether it does.
async fn tell_protocol<S: AsyncRead + Unpin>(
    socket: &mut S,
    first: &mut [u8; 24],
    activity: &Activity,
) -> io::Result<(usize, bool)> {
    let mut size = 0;
    loop {
        let (read, room) = first.split_at_mut(size);
        if room.is_empty() || !PREFACE.starts_with(read) {
            return Ok((size, PREFACE.starts_with(read)));
        }
        let more = socket.read(room).await?;
        if more == 0 {
            return Ok((size, false));
        }
        size += more;
        activity.head.fetch_add(more as u64, Relaxed);
    }
}
