//! Request bodies: as a source for the engine, and what happens to a body that nobody wants.

use std::{
    io,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::stream::Stream;
use http::{HeaderMap, Version, header};
use http_body::Body;
use http_body_util::BodyExt;
use salvo::http::ReqBody;
use tokio::time::timeout;

use crate::engine::{Broken, Piece, digest::Claim};

/// An unwanted body is read on for so long after the last piece of it,
const LINGER_GAP: Duration = Duration::from_secs(5);
/// and for so long altogether.
const LINGER: Duration = Duration::from_secs(30);

/// The rest of an unwanted body that is certainly read, so that its connection can go on.
const SHORT: u64 = 64 * 1024;

tokio::task_local! {
    /// Whether the request that is answered leaves a body unread that ends its connection.
    static UNREAD: AtomicBool;
}

/// Await an answer, and learn whether it leaves a body that ends the connection.
pub async fn noting_unread<T>(answering: impl Future<Output = T>) -> (T, bool) {
    UNREAD
        .scope(AtomicBool::new(false), async {
            let answer = answering.await;
            (answer, UNREAD.with(|unread| unread.load(Ordering::Relaxed)))
        })
        .await
}

/// How a request announces its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// Content-Length.
    Bytes(u64),
    /// Chunked (HTTP/1), or until the end of the stream (HTTP/2).
    Unknown,
}

/// Read the announcement. `None` for a Content-Length that is no number.
#[must_use]
pub fn announced(headers: &HeaderMap, version: Version, body: &ReqBody) -> Option<Announced> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Some(Announced::Unknown);
    }
    match headers.get(header::CONTENT_LENGTH) {
        Some(value) => {
            let text = value.to_str().ok()?.trim();
            text.bytes()
                .all(|b| b.is_ascii_digit())
                .then(|| text.parse().ok())
                .flatten()
                .map(Announced::Bytes)
        }
        // [XEP-130] RFC 9112 section 6.3: with neither length nor chunks the body is empty
        None if version < Version::HTTP_2 => Some(Announced::Bytes(0)),
        None if body.is_end_stream() => Some(Announced::Bytes(0)),
        None => Some(Announced::Unknown),
    }
}

/// A request body as the engine takes it.
///
/// Dropping one that was not read to its end reads on for a moment: a client that is still sending when its
/// connection closes gets a reset, and loses the answer that says why.
#[derive(Debug)]
pub struct RequestSource {
    body: ReqBody,
    over: bool,
    /// Whether nobody but us would read on: HTTP/1, and the client does not wait for `100 Continue`.
    lingers: bool,
    /// Whether dropping it unread ends the connection.
    ends: bool,
    /// What the trailers claim of the body, where the dialect knows such a thing.
    claim: Option<fn(&HeaderMap) -> Option<Claim>>,
}

impl RequestSource {
    /// Have the trailers read by `claim`.
    #[must_use]
    pub fn with_trailers(mut self, claim: fn(&HeaderMap) -> Option<Claim>) -> Self {
        self.claim = Some(claim);
        self
    }

    /// The body of a request with these headers.
    #[must_use]
    pub fn new(body: ReqBody, headers: &HeaderMap, version: Version) -> Self {
        let waits =
            headers.get(header::EXPECT).is_some_and(|e| e.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let is_http1 = version < Version::HTTP_2;
        let is_short = Body::size_hint(&body).upper().is_some_and(|size| size <= SHORT);
        Self {
            over: body.is_end_stream(),
            body,
            lingers: is_http1 && !waits,
            ends: is_http1 && (waits || !is_short),
            claim: None,
        }
    }
}

impl Stream for RequestSource {
    type Item = Result<Piece, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.over {
                return Poll::Ready(None);
            }
            let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
            // Once asked for, the body has its 100 Continue and must be read like any other.
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => return Poll::Ready(Some(Ok(Piece::Data(data)))),
                    Err(frame) => {
                        let trailers = frame.into_trailers().ok();
                        if let Some(claim) = trailers.as_ref().zip(self.claim).and_then(|(t, claim)| claim(t))
                        {
                            return Poll::Ready(Some(Ok(Piece::Claim(claim))));
                        }
                    }
                },
                Some(Err(error)) => {
                    self.over = true;
                    let end = if is_malformed(&error) { Ok(Piece::Malformed) } else { Err(Broken) };
                    return Poll::Ready(Some(end));
                }
                None => self.over = true,
            }
        }
    }
}

/// Whether a body ended because its chunks make no sense, and not because its connection went.
fn is_malformed(error: &io::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(this) = cause {
        let kind = this.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)) {
            return true;
        }
        cause = this.source();
    }
    false
}

/// Whether a body ends without a byte. One that does not come within the time for which an unwanted body is read on counts
/// as not empty.
pub async fn is_empty(body: &mut ReqBody) -> bool {
    if body.is_end_stream() {
        return true;
    }
    let ends = async {
        while let Some(frame) = body.frame().await {
            match frame.map(|frame| frame.into_data()) {
                // Trailers.
                Ok(Err(_)) => {}
                Ok(Ok(data)) if data.is_empty() => {}
                Ok(Ok(_)) | Err(_) => return false,
            }
        }
        true
    };
    timeout(LINGER_GAP, ends).await.unwrap_or(false)
}

/// A body that no one will read: see [`RequestSource`] for what happens to it.
pub fn unwanted(body: ReqBody, headers: &HeaderMap, version: Version) {
    drop(RequestSource::new(body, headers, version));
}

impl Drop for RequestSource {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        if self.ends {
            let _outside_of_a_request = UNREAD.try_with(|unread| unread.store(true, Ordering::Relaxed));
        }
        if !self.lingers {
            return;
        }
        let mut body = std::mem::take(&mut self.body);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(timeout(LINGER, async move {
                while let Ok(Some(Ok(_))) = timeout(LINGER_GAP, body.frame()).await {}
            }));
        }
    }
}
