//! HTTP/1 by hyper.

use std::{pin, time::Duration};

use bytes::Bytes;
use salvo::{hyper::server::conn::http1, rt::tokio::TokioIo};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

use super::{activity::Ending, connection::Orders, service::Calls, stream::Tracked};

/// What a client has to read a last answer in before the connection is closed.
const LINGER: Duration = Duration::from_secs(2);
/// Beyond the head, so that a head of the largest size is told from a larger one.
const SLACK: usize = 4096;

/// Serve until the connection ends or is told to.
pub(super) async fn serve<S>(io: Tracked<S>, calls: Calls, mut orders: Orders)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let settings = &calls.shared.settings;
    let mut builder = http1::Builder::new();
    builder
        .half_close(true)
        .header_read_timeout(None)
        // [XEP-100]
        .max_header_size(settings.max_head)
        .max_buf_size(settings.read_buffer.max(settings.max_head + SLACK));
    let (shared, activity) = (calls.shared.clone(), calls.activity.clone());
    let mut connection = builder.serve_connection(TokioIo::new(io), calls);
    let mut last: Option<Bytes> = None;
    loop {
        tokio::select! {
            result = &mut connection => {
                if let Err(error) = result {
                    if error.is_parse_version_h2() {
                        last = Some(shared.early.version());
                    }
                    tracing::debug!(%error, "an HTTP/1 connection ended");
                }
                break;
            }
            order = orders.next() => match order {
                Ending::SlowHead => {
                    last = Some(shared.early.head_too_slow());
                    shared.metrics.request("", "none", 408);
                    break;
                }
                Ending::Idle | Ending::WriteStall | Ending::Drained | Ending::Forced => {
                    pin::Pin::new(&mut connection).graceful_shutdown();
                }
            }
        }
    }
    let socket = connection.into_parts().io.into_inner().into_inner();
    let was_refused = activity.refused.load(std::sync::atomic::Ordering::Relaxed);
    if last.is_some() || was_refused {
        leave(socket, last.unwrap_or_default()).await;
    }
}

/// Say a last thing, and read on for a moment: to close on unread bytes resets the connection, and the client loses
/// the answer.
pub(super) async fn leave<S: AsyncRead + AsyncWrite + Unpin>(mut socket: S, answer: Bytes) {
    let leaving = async {
        socket.write_all(&answer).await?;
        socket.shutdown().await?;
        let mut rest = vec![0; 4096];
        while socket.read(&mut rest).await? > 0 {}
        std::io::Result::Ok(())
    };
    let _over = timeout(LINGER, leaving).await;
}
