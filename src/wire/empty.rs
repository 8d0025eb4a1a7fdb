//! The end of an upload that needs no further byte: one of no bytes at all, or one whose every byte is here already.

use super::{
    Call,
    credentials::{about, may_begin},
};
use crate::{
    auth::Grant,
    engine::{Error, Order, Outcome, Start, Write, digest::Check},
    upload::{Kind, Offset},
};

/// Complete the upload that a request names at `length`, its offset, without a body. Where slots are written a file of
/// no bytes comes into being by it: no dialect but plain PUT has a request that would bring its bytes.
///
/// # Errors
/// As [`crate::engine::Engine::write`].
pub async fn complete(
    call: &Call<'_>,
    grant: &Grant,
    length: Offset,
    dialect: &'static str,
) -> Result<Outcome, Error> {
    let write = Write {
        start: Start::At(length),
        body: Some(0),
        length: Some(length.0),
        may_create: length == Offset::ZERO && may_begin(call),
    };
    let order = Order {
        name: call.name.clone(),
        write,
        about: about(call, grant),
        kind: Kind::Single,
        check: Check::None,
        dialect,
    };
    call.house.engine.write(order, Box::pin(futures_util::stream::empty())).await
}
