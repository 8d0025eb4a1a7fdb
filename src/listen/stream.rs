//! A connection's bytes: counted, read in small pieces until there is room for large ones, and with the bare answers
//! of the HTTP/1 library replaced by ours.

use std::{
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Shared, activity::Activity, budget::Share};

/// Read at once until the budget gives room for more; with what the library keeps it is what every connection has.
const SMALL_READ: usize = 16 * 1024;
/// So many small reads in a row that leave nothing free show that much is coming.
const FULL_READS: u8 = 2;

/// See the module's first line.
#[derive(Debug)]
pub(super) struct Tracked<S> {
    inner: S,
    /// Read while the protocol was told apart.
    unread: Bytes,
    shared: Arc<Shared>,
    activity: Arc<Activity>,
    full_reads: u8,
    large: Option<Share>,
    /// The count of requests when everything that was answered had been handed to the socket. What is written while no
    /// further request has begun is the library's own answer.
    settled: Option<u64>,
    /// Our answer, and how many bytes of the library's it stands for.
    instead: Option<(Bytes, usize)>,
}

impl<S> Tracked<S> {
    pub(super) fn new(inner: S, unread: Bytes, shared: Arc<Shared>, activity: Arc<Activity>) -> Self {
        Self { inner, unread, shared, activity, full_reads: 0, large: None, settled: Some(0), instead: None }
    }

    /// The bare socket.
    pub(super) fn into_inner(self) -> S {
        self.inner
    }

    fn is_http2(&self) -> bool {
        self.activity.is_http2.load(Relaxed)
    }

    /// [ENG-127] Whether a read may take whatever the library offers.
    fn reads_large(&mut self) -> bool {
        if self.is_http2() {
            return true;
        }
        if self.activity.is_idle() {
            (self.large, self.full_reads) = (None, 0);
        } else if self.large.is_none() && self.full_reads >= FULL_READS {
            self.full_reads = 0;
            self.large = self.shared.receive.take(self.shared.settings.read_buffer as u64);
        }
        self.large.is_some()
    }

    fn count_read(&self, read: usize) {
        if self.activity.is_idle() {
            self.activity.head.fetch_add(read as u64, Relaxed);
        }
    }

    /// The library's own answer among what it wants to write.
    fn replaces(&mut self, wanted: &[u8]) {
        if self.instead.is_some() || self.is_http2() {
            return;
        }
        let settled = self.settled.take();
        if settled != Some(self.activity.requests.load(Relaxed)) || !self.activity.is_idle() {
            return;
        }
        if let Some((status, ours)) = self.shared.early.instead_of(wanted) {
            self.shared.metrics.request("", "none", status);
            self.activity.refused.store(true, Relaxed);
            self.instead = Some((ours, wanted.len()));
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tracked<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            let size = self.unread.len().min(buf.remaining());
            buf.put_slice(&self.unread.split_to(size));
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        if self.reads_large() {
            ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
            self.count_read(buf.filled().len() - before);
            return Poll::Ready(Ok(()));
        }
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(buf.remaining().min(SMALL_READ)));
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut part))?;
        let (read, room) = (part.filled().len(), part.capacity());
        buf.advance(read);
        self.count_read(read);
        self.full_reads = if read == room { self.full_reads.saturating_add(1) } else { 0 };
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Tracked<S> {
    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &result {
            self.activity.written.fetch_add(*bytes as u64, Relaxed);
        }
        self.activity.write_pending.store(result.is_pending(), Relaxed);
        result
    }

    /// Write our answer; once it is out, the library's counts as written.
    fn write_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<usize>>> {
        let Some((mut ours, theirs)) = self.instead.take() else { return Poll::Ready(Ok(None)) };
        while !ours.is_empty() {
            let result = Pin::new(&mut self.inner).poll_write(cx, &ours);
            match self.wrote(result) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(bytes)) => ours.advance(bytes),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.instead = Some((ours, theirs));
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(Some(theirs)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tracked<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.replaces(buf);
        if let Some(theirs) = ready!(self.write_instead(cx))? {
            return Poll::Ready(Ok(theirs));
        }
        let result = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.replaces(bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| &**buf));
        if let Some(theirs) = ready!(self.write_instead(cx))? {
            return Poll::Ready(Ok(theirs));
        }
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        let requests = self.activity.requests.load(Relaxed);
        self.settled = self.activity.is_idle().then_some(requests);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
