//! Connections: from the accepted socket to the service that answers its requests, and what ends them.
//!
//! ```text
//!   accept ── admission ──> connection ──┬── http1 (hyper) ──┐
//!     back-off   by address,     |       └── http2 (h2) ─────┴──> service ──> wire
//!     on errors  by descriptors  └── watch: idle, slow head, write stall; drain at the stop
//! ```
//!
//! Rules that hold for every connection:
//! * It is counted against its address and against the process's descriptors before it is served.
//! * Silence ends it: no head in time, no request in time, no progress of an answer in time. What the client sends
//!   without asking for anything (PING) is silence too.
//! * What it may hold in memory without having been read is 64 KiB; beyond that it takes from one budget.
//! * An answer that no handler gave has the same CORS fields and problem document as one that a handler gave.
//!
//! HTTP/2 is served on `h2` itself. Rejected: hyper's HTTP/2 server, which gives no access to informational answers,
//! to the windows of a running connection, nor to a stream whose client takes nothing of the answer.

mod accept;
mod activity;
mod admission;
mod budget;
mod connection;
mod descriptors;
mod http1;
mod http2;
mod service;
mod sometimes;
mod stream;

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

pub use accept::serve;
pub use admission::Admission;
pub use budget::Budget;
pub use descriptors::{Descriptors, raise_open_files};

use crate::{clock::Clock, config::Cidr, telemetry::Metrics, wire::early::Early};

/// What is asked of connections; times are above zero.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For the head of a request, from its first byte; and for the first byte of a connection.
    pub header_timeout: Duration,
    /// For the next request, after an answer.
    pub keep_alive_timeout: Duration,
    /// For the client to take the next bytes of an answer.
    pub write_stall_timeout: Duration,
    /// Bytes of a request's head.
    pub max_head: usize,
    /// Read buffer of an HTTP/1 connection, when the budget has room.
    pub read_buffer: usize,
    /// Whether HTTP/2 is spoken.
    pub http2: bool,
    /// Requests at once on one HTTP/2 connection.
    pub http2_streams: u32,
    /// Largest flow-control window of an HTTP/2 connection.
    pub http2_window: u32,
    /// Connections of one address; 0 for no bound.
    pub per_address: u32,
    /// Addresses without that bound.
    pub exempt: Vec<Cidr>,
}

/// What all connections of a listener share.
#[derive(Debug)]
pub struct Shared {
    /// See there.
    pub settings: Settings,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// For the Date of answers.
    pub clock: Arc<dyn Clock>,
    /// Answers that no handler gives.
    pub early: Early,
    /// Descriptors that connections and their requests may take.
    pub descriptors: Arc<Budget>,
    /// Bytes that windows and read buffers may take beyond the first 64 KiB of each connection.
    pub receive: Arc<Budget>,
    /// The end.
    pub stop: Stop,
}

/// How a listener ends.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// No new connections; idle ones close, and the others after their running requests.
    pub drain: CancellationToken,
    /// Every connection is dropped.
    pub force: CancellationToken,
}
