//! The service as a connection calls it: each request is counted while it is open, and a handler that panics answers.

use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use salvo::{
    http::{ReqBody, ResBody},
    hyper::{self, service::Service as HyperService},
};

use super::{Shared, activity::Activity};
use crate::wire::reply::Reply;

/// Salvo's handler of one connection, whose type cannot be named.
pub(super) type Handler = Arc<
    dyn Fn(Request<ReqBody>) -> Pin<Box<dyn Future<Output = Result<Response<ResBody>, hyper::Error>> + Send>>
        + Send
        + Sync,
>;

/// The handler of one connection, and what is counted of it.
#[derive(Clone)]
pub(super) struct Calls {
    pub(super) handler: Handler,
    pub(super) shared: Arc<Shared>,
    pub(super) activity: Arc<Activity>,
}

/// The time for which a request is open.
#[derive(Debug)]
pub(super) struct Open(Arc<Activity>);

impl Open {
    pub(super) fn new(activity: &Arc<Activity>) -> Self {
        activity.begin();
        Self(Arc::clone(activity))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// An answer to come.
pub(super) type Answering = Pin<Box<dyn Future<Output = Result<Response<Answer>, Infallible>> + Send>>;

/// The body of an answer; its request is open until this is dropped.
pub(super) struct Answer {
    body: ResBody,
    _open: Open,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Calls {
    /// Call the handler.
    pub(super) fn answer<B: Into<ReqBody>>(&self, request: Request<B>, open: Open) -> Answering {
        let answering = AssertUnwindSafe((self.handler)(request.map(Into::into))).catch_unwind();
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let response = match answering.await {
                Ok(Ok(response)) => response,
                // [ENG-128] salvo's handler gives no error; a panic has been reported by its hook
                Ok(Err(_)) | Err(_) => {
                    tracing::error!("a request failed: its handler panicked");
                    shared.metrics.fault("handler");
                    written(shared.early.failed())
                }
            };
            Ok(response.map(|body| Answer { body, _open: open }))
        })
    }
}

/// A reply as the library takes it.
pub(super) fn written(reply: Reply) -> Response<ResBody> {
    let mut response = salvo::Response::new();
    reply.write(&mut response);
    response.into_hyper()
}

impl<B: Into<ReqBody>> HyperService<Request<B>> for Calls {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<B>) -> Answering {
        self.answer(request, Open::new(&self.activity))
    }
}
