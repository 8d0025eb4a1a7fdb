//! Ordinary exchanges: one connection each, through hyper.

use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Answer, Request};
use crate::case::Failure;

fn broke(error: impl std::error::Error) -> Failure {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    Failure::because(format_args!("the exchange failed: {text}"))
}

/// Sends one request on a connection of its own and reads the whole answer.
pub(crate) async fn exchange(stream: TcpStream, host: &str, request: &Request) -> Result<Answer, Failure> {
    let mut builder =
        http::Request::builder().method(request.method()).uri(request.target()).header("host", host);
    for (name, value) in request.headers() {
        builder = builder.header(name, value);
    }
    if request.needs_length() {
        builder = builder.header("content-length", request.content().len());
    }
    let message = builder.body(Full::new(request.content().clone())).map_err(broke)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broke)?;
    let connection = tokio::spawn(connection);
    let answer = async {
        let answer = sender.send_request(message).await.map_err(broke)?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.map_err(broke)?.to_bytes();
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
    }
    .await;
    connection.abort();
    answer
}
