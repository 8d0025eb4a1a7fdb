//! Plimsoll: an upload server that never loses its place. See ARCHITECTURE.md for the way through the house.

pub mod app;
pub mod auth;
pub mod blobs;
pub mod cli;
pub mod clock;
pub mod config;
pub mod engine;
pub mod fault;
pub mod guard;
pub mod id;
pub mod leases;
pub mod ledger;
pub mod listen;
pub mod network;
pub mod private;
pub mod redis_link;
pub mod session;
pub mod telemetry;
pub mod upload;
pub mod wire;
