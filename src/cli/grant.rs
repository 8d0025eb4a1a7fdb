//! A grant: a token that lets its holder create uploads.

use super::Failure;
use crate::{
    auth::{GrantClaims, Keyring, mint_grant},
    clock::Timestamp,
    config::{Config, Size},
};

/// Mint a grant with the secret of [tus], or else of [slots].
///
/// # Errors
/// An empty user, secrets that cannot be had.
pub(super) fn mint(
    config: &Config,
    user: &str,
    max_size: Option<Size>,
    now: Timestamp,
) -> Result<String, Failure> {
    if user.is_empty() {
        return Err("--user is empty\n    to do: name who may upload".into());
    }
    let secrets = config.grant_secrets()?.iter().map(|secret| secret.expose().to_vec()).collect();
    let claims = GrantClaims {
        subject: user.to_owned(),
        max_size: max_size.map(Size::bytes),
        issued_at_ms: now.0,
        expires_at_ms: now.plus(config.tus.grant_lifetime.duration()).0,
    };
    Ok(mint_grant(&Keyring::new(secrets)?, &claims)?)
}
