//! Requests as data, answers as data, and two ways between them: a well-kept client for ordinary exchanges and a
//! bare socket for everything that such a client would rightly refuse to do.

pub mod answer;
pub mod plain;
pub mod request;
pub mod wire;

pub use answer::Answer;
pub use request::Request;
pub use wire::Wire;
