//! A client of HTTP/2 whose windows and bodies the test controls.

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use http::Request;
use tokio::net::TcpSocket;

use crate::common::server::Server;

/// A connection with this window for each answer, from an address of the loopback network.
pub(crate) async fn connect(server: &Server, window: u32, from: [u8; 4]) -> SendRequest<Bytes> {
    try_connect(server, window, from).await.expect("a connection that the server takes")
}

/// The same; `None` when the server does not take it.
pub(crate) async fn try_connect(server: &Server, window: u32, from: [u8; 4]) -> Option<SendRequest<Bytes>> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let stream = socket.connect(server.address).await.ok()?;
    let mut builder = Builder::new();
    builder.initial_window_size(window).enable_push(false);
    let (requests, connection) = builder.handshake(stream).await.ok()?;
    tokio::spawn(connection);
    requests.ready().await.ok()
}

pub(crate) fn request(server: &Server, method: &str, target: &str) -> http::request::Builder {
    Request::builder().method(method).uri(format!("http://{}{target}", server.address))
}
