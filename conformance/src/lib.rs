//! Black-box conformance suite for servers that take uploads by plain PUT (XEP-0363), by ranged PUT and by tus.
//!
//! ```text
//!   cli  ->  runner  ->  profiles/*  (a table of cases, each citing the requirement IDs it proves)
//!               |             |
//!            report         ctx  ->  token (mints slot tokens)    http (exact bytes, or hyper)
//! ```
//!
//! The suite knows a URL, the paths below it and a secret, nothing else: it links no server, reads no storage and shares no
//! code with its subject, so that a rule misread in the server is not misread here in the same way. Every case
//! uploads to paths of its own, so cases neither depend on each other nor on an empty server.
//!
//! Why not one HTTP client for everything? A well-kept client ([`ctx::Ctx::send`]) hides what many rules are about:
//! when bytes leave, which of two contradicting lengths is sent, how a socket dies. Such cases hold the socket
//! themselves ([`http::wire::Wire`]).

pub mod case;
pub mod cli;
mod clock;
pub mod ctx;
pub mod http;
pub mod profiles;
pub mod report;
pub mod runner;
pub mod session;
pub mod token;
pub mod tus;
