//! HTTP/2 by h2: one task for the connection, one for each request.
//!
//! ```text
//!   connection ── accept ──> stream: 431 │ call the handler ──> head ──> body, as the client's window allows
//!        ^                      │ 100 Continue when the handler asks for the body
//!        └── window grows <─────┘ bytes that the handler has read
//! ```
//!
//! What a client may send ahead is the connection's window. It begins small and doubles when as much has been read,
//! while the budget has room: so all windows together stay within the budget, beyond 64 KiB a connection.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use h2::{
    Reason, RecvStream, SendStream,
    server::{Builder, Connection, SendResponse},
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use salvo::http::ReqBody;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
    task::JoinSet,
    time::timeout,
};

use super::{
    Shared,
    budget::{Budget, Share},
    connection::Orders,
    service::{Answer, Answering, Calls, Open, written},
    stream::Tracked,
};

/// What every connection may hold without asking; RFC 9113 section 6.9.2 allows no less.
const LEAST_WINDOW: u32 = 65_535;
/// The first window where the budget has room.
const FIRST_WINDOW: u32 = 256 * 1024;
/// Bytes of an answer that wait for the socket, of one stream.
const SEND_BUFFER: usize = 64 * 1024;
/// h2 answers 431 by itself, without a document, to a head that is so many times larger than ours.
const HEAD_FACTOR: u32 = 4;
/// As many as the HTTP/1 parser takes.
const MOST_FIELDS: usize = 100;
/// Of a field, besides name and value, as in HTTP/1: colon, blank and line end.
const FIELD_OVERHEAD: usize = 4;

/// Serve until the connection ends or is told to.
pub(super) async fn serve<S>(io: Tracked<S>, calls: Calls, mut orders: Orders)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let shared = Arc::clone(&calls.shared);
    let settings = &shared.settings;
    let mut window = Window::first(&shared.receive, settings.http2_window);
    let max_head = u32::try_from(settings.max_head).unwrap_or(u32::MAX / HEAD_FACTOR);
    let mut builder = Builder::new();
    builder
        .initial_connection_window_size(window.size)
        .initial_window_size(window.of_stream())
        .max_concurrent_streams(settings.http2_streams)
        .max_header_list_size(max_head.saturating_mul(HEAD_FACTOR))
        .max_send_buffer_size(SEND_BUFFER);
    let mut connection: Connection<_, Bytes> = match builder.handshake(io).await {
        Ok(connection) => connection,
        Err(error) => return tracing::debug!(%error, "no HTTP/2 after its preface"),
    };
    let reading = Arc::<Reading>::default();
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            next = connection.accept() => match next {
                Some(Ok((request, respond))) => {
                    while streams.try_join_next().is_some() {}
                    let is_first = calls.activity.is_idle();
                    let open = Open::new(&calls.activity);
                    // [ENG-120] a connection is counted with the file of one request; each further one needs its own
                    let descriptor = if is_first { None } else { shared.descriptors.take(1) };
                    if descriptor.is_none() && !is_first {
                        refuse(respond, &shared);
                        continue;
                    }
                    let stream = Stream { calls: calls.clone(), reading: Arc::clone(&reading) };
                    streams.spawn(async move {
                        let _descriptor = descriptor;
                        stream.serve(request, respond, open).await;
                    });
                }
                Some(Err(error)) => {
                    tracing::debug!(%error, "an HTTP/2 connection ended");
                    break;
                }
                None => break,
            },
            // GOAWAY; what is open goes on
            _ = orders.next() => connection.graceful_shutdown(),
            () = reading.much.notified() => {
                reading.read.store(0, Relaxed);
                if window.grow(&shared.receive) {
                    connection.set_target_window_size(window.size);
                    // Refused while the client has not yet confirmed the last one.
                    let _later = connection.set_initial_window_size(window.of_stream());
                }
                reading.window.store(u64::from(window.size), Relaxed);
            }
        }
    }
}

/// [ENG-127] The window of a connection, and what it holds of the budget.
#[derive(Debug)]
struct Window {
    size: u32,
    largest: u32,
    shares: Vec<Share>,
}

impl Window {
    fn first(budget: &Arc<Budget>, largest: u32) -> Self {
        let mut window = Self { size: LEAST_WINDOW, largest: largest.max(LEAST_WINDOW), shares: Vec::new() };
        window.become_size(FIRST_WINDOW, budget);
        window
    }

    /// Twice as large, if it may and the budget has room.
    fn grow(&mut self, budget: &Arc<Budget>) -> bool {
        self.become_size(self.size.saturating_mul(2), budget)
    }

    fn become_size(&mut self, size: u32, budget: &Arc<Budget>) -> bool {
        let size = size.min(self.largest);
        let Some(more) = size.checked_sub(self.size).filter(|more| *more > 0) else { return false };
        let Some(share) = budget.take(u64::from(more)) else { return false };
        self.shares.push(share);
        self.size = size;
        true
    }

    /// One stream that is not read leaves room for the others.
    fn of_stream(&self) -> u32 {
        (self.size / 2).max(LEAST_WINDOW.min(self.size))
    }
}

/// What the handlers of a connection have read.
#[derive(Debug)]
struct Reading {
    read: AtomicU64,
    window: AtomicU64,
    much: Notify,
}

impl Default for Reading {
    fn default() -> Self {
        Self { read: AtomicU64::new(0), window: AtomicU64::new(u64::from(FIRST_WINDOW)), much: Notify::new() }
    }
}

impl Reading {
    fn read(&self, bytes: usize) {
        let bytes = bytes as u64;
        let sum = self.read.fetch_add(bytes, Relaxed) + bytes;
        let window = self.window.load(Relaxed);
        if sum >= window && sum - bytes < window {
            self.much.notify_one();
        }
    }
}

/// A request's body.
struct Incoming {
    stream: RecvStream,
    reading: Arc<Reading>,
    wanted: Option<Arc<Wanted>>,
    left: Option<u64>,
    has_data_ended: bool,
}

/// The handler has asked for the body of a client that waits for that.
#[derive(Debug, Default)]
struct Wanted {
    is_wanted: AtomicBool,
    waker: AtomicWaker,
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        // [ENG-129] only now
        if let Some(wanted) = self.wanted.take() {
            wanted.is_wanted.store(true, Relaxed);
            wanted.waker.wake();
        }
        if !self.has_data_ended {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    let _ended = self.stream.flow_control().release_capacity(data.len());
                    self.reading.read(data.len());
                    if let Some(left) = &mut self.left {
                        *left = left.saturating_sub(data.len() as u64);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(broken(error)))),
                None => self.has_data_ended = true,
            }
        }
        match ready!(self.stream.poll_trailers(cx)) {
            Ok(Some(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Ok(None) => Poll::Ready(None),
            Err(error) => Poll::Ready(Some(Err(broken(error)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn broken(error: h2::Error) -> io::Error {
    match error.into_io() {
        Some(error) => error,
        None => io::Error::new(io::ErrorKind::ConnectionReset, "the stream was reset"),
    }
}

impl From<Incoming> for ReqBody {
    fn from(body: Incoming) -> Self {
        Self::Boxed {
            inner: Box::pin(body.map_err(|error| -> salvo::BoxedError { error.into() })),
            fuse_config: None,
        }
    }
}

/// The client may repeat a refused stream, since nothing has been done (RFC 9113 section 8.7).
fn refuse(mut respond: SendResponse<Bytes>, shared: &Shared) {
    shared.metrics.connection_refused("descriptors");
    respond.send_reset(Reason::REFUSED_STREAM);
}

/// One request.
struct Stream {
    calls: Calls,
    reading: Arc<Reading>,
}

impl Stream {
    async fn serve(self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>, open: Open) {
        let shared = Arc::clone(&self.calls.shared);
        if is_too_large(&request, shared.settings.max_head) {
            shared.metrics.request("", "none", 431);
            drop(request);
            let (head, body) = written(shared.early.head_too_large()).into_parts();
            return send(respond, Response::from_parts(head, ()), body, &shared).await;
        }
        let wanted = expects(request.headers()).then(Arc::<Wanted>::default);
        let (parts, stream) = request.into_parts();
        let left = length_of(&parts.headers);
        let reading = self.reading;
        let body = Incoming { stream, reading, wanted: wanted.clone(), left, has_data_ended: false };
        let call = self.calls.answer(Request::from_parts(parts, body), open);
        let Some(response) = answered(call, &mut respond, wanted).await else { return };
        let (head, body) = response.into_parts();
        send(respond, Response::from_parts(head, ()), body, &shared).await;
    }
}

fn expects(headers: &HeaderMap) -> bool {
    headers.get(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

fn length_of(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// [XEP-100] As large as HTTP/1 would say it is.
fn is_too_large<B>(request: &Request<B>, most: usize) -> bool {
    let fields = request.headers().iter();
    let fields: usize = fields.map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD).sum();
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    fields + target > most || request.headers().len() > MOST_FIELDS
}

/// The handler's answer; none when the client took the request back.
async fn answered(
    mut call: Answering,
    respond: &mut SendResponse<Bytes>,
    mut wanted: Option<Arc<Wanted>>,
) -> Option<Response<Answer>> {
    poll_fn(|cx| {
        if let Poll::Ready(Ok(response)) = call.as_mut().poll(cx) {
            return Poll::Ready(Some(response));
        }
        if let Some(body) = &wanted {
            body.waker.register(cx.waker());
            if body.is_wanted.load(Relaxed) {
                wanted = None;
                // [ENG-129] the client waits for it
                let mut go_on = Response::new(());
                *go_on.status_mut() = crate::wire::early::CONTINUE;
                if let Err(error) = respond.send_informational(go_on) {
                    tracing::debug!(%error, "100 Continue cannot be sent");
                }
            }
        }
        respond.poll_reset(cx).map(|_| None)
    })
    .await
}

/// What HTTP/2 forbids (RFC 9113 section 8.2.2).
const OF_CONNECTIONS: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Send an answer, as fast as the client takes it; [ENG-123] one that takes nothing for too long loses the stream.
async fn send<B>(mut respond: SendResponse<Bytes>, mut head: Response<()>, body: B, shared: &Shared)
where
    B: Body<Data = Bytes, Error = io::Error>,
{
    for name in OF_CONNECTIONS {
        head.headers_mut().remove(name);
    }
    if let Ok(date) = HeaderValue::from_str(&shared.clock.now().http_date()) {
        head.headers_mut().entry(header::DATE).or_insert(date);
    }
    let is_over = body.is_end_stream();
    if let Some(length) = body.size_hint().exact().filter(|_| !is_over) {
        head.headers_mut().entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
    let mut left = length_of(head.headers());
    let Ok(mut stream) = respond.send_response(head, is_over) else { return };
    if is_over {
        return;
    }
    let limit = shared.settings.write_stall_timeout;
    let mut body = std::pin::pin!(body);
    loop {
        // Nothing is read from the disk for a client that has no window.
        if capacity(&mut stream, 1, limit, shared).await.is_none() {
            return;
        }
        let next = tokio::select! {
            next = body.frame() => next,
            _ = poll_fn(|cx| stream.poll_reset(cx)) => return,
        };
        match next {
            None => {
                let _ended = stream.send_data(Bytes::new(), true);
                return;
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "an answer ends early");
                return stream.send_reset(Reason::INTERNAL_ERROR);
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(mut data) => {
                    left = left.map(|left| left.saturating_sub(data.len() as u64));
                    // The end goes with the last byte, and needs no window of its own.
                    let is_last = body.is_end_stream() || left == Some(0);
                    while !data.is_empty() {
                        let Some(room) = capacity(&mut stream, data.len(), limit, shared).await else {
                            return;
                        };
                        let piece = data.split_to(room.min(data.len()));
                        if stream.send_data(piece, is_last && data.is_empty()).is_err() {
                            return;
                        }
                    }
                    if is_last {
                        return;
                    }
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        let _ended = stream.send_trailers(trailers);
                        return;
                    }
                }
            },
        }
    }
}

/// Wait until some of `wanted` bytes may be sent. `None` when the stream is over, or was ended for its silence.
async fn capacity(
    stream: &mut SendStream<Bytes>,
    wanted: usize,
    limit: Duration,
    shared: &Shared,
) -> Option<usize> {
    stream.reserve_capacity(wanted.min(SEND_BUFFER));
    if stream.capacity() > 0 {
        return Some(stream.capacity());
    }
    let more = async {
        loop {
            match poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(Ok(0)) => {}
                Some(Ok(room)) => return Some(room),
                Some(Err(_)) | None => return None,
            }
        }
    };
    match timeout(limit, more).await {
        Ok(room) => room,
        Err(_) => {
            shared.metrics.connection_closed("stream-stall");
            stream.send_reset(Reason::CANCEL);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_together_stay_within_the_budget() {
        let budget = Budget::new(1024 * 1024);
        let mut windows: Vec<Window> = (0..50).map(|_| Window::first(&budget, 8 << 20)).collect();
        for window in &mut windows {
            while window.grow(&budget) {}
        }
        let total: u64 = windows.iter().map(|window| u64::from(window.size - LEAST_WINDOW)).sum();
        assert!(total <= 1024 * 1024, "{total}");
        assert_eq!(budget.taken(), total);
        drop(windows);
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn a_window_doubles_up_to_its_bound() {
        let budget = Budget::new(u64::MAX);
        let mut window = Window::first(&budget, 1 << 20);
        assert_eq!(window.size, FIRST_WINDOW);
        assert!(window.grow(&budget) && window.grow(&budget));
        assert_eq!((window.size, window.grow(&budget)), (1 << 20, false));
        assert_eq!(Window::first(&budget, 65_535).size, 65_535);
    }
}
