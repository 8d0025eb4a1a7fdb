//! Unguessable ids: the one place that draws randomness from the operating system.
//!
//! A version 4 UUID is not taken as it comes: six of its bits are constant, which leaves 122, and ENG-7 asks
//! for 128. So only the bytes that are wholly random are used, from as many UUIDs as it takes.

use std::fmt::Write as _;

/// `N` bytes from the operating system's generator.
///
/// Panics only if the operating system has no randomness to give, and then no id would be safe.
#[must_use]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    for chunk in out.chunks_mut(RANDOM_PER_UUID) {
        #[allow(clippy::disallowed_methods, reason = "the one place that makes ids")]
        let uuid = uuid::Uuid::new_v4();
        for (to, from) in chunk.iter_mut().zip(wholly_random(uuid.as_bytes())) {
            *to = from;
        }
    }
    out
}

/// 128 random bits as 32 lowercase hex digits: the form of every upload id and blob name.
#[must_use]
pub fn random_hex_128() -> String {
    hex(&random_bytes::<16>())
}

/// Two lowercase hex digits a byte.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

const RANDOM_PER_UUID: usize = 14;

/// RFC 9562 section 5.4: octet 6 carries the version, octet 8 the variant; the other fourteen are random.
fn wholly_random(uuid: &[u8; 16]) -> impl Iterator<Item = u8> {
    uuid.iter().enumerate().filter(|(at, _)| !matches!(at, 6 | 8)).map(|(_, byte)| *byte)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_32_lowercase_hex_digits() {
        let id = random_hex_128();
        assert_eq!(id.len(), 32);
        assert!(id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{id}");
    }

    #[test]
    fn ids_do_not_repeat() {
        let ids: HashSet<_> = (0..1_000).map(|_| random_hex_128()).collect();
        assert_eq!(ids.len(), 1_000);
    }

    /// A constant bit (as a UUID's version and variant would leave) survives the AND or the OR of many draws.
    #[test]
    fn every_bit_takes_both_values() {
        let (mut ones, mut zeros) = ([0u8; 45], [0u8; 45]);
        for _ in 0..200 {
            for (at, byte) in random_bytes::<45>().into_iter().enumerate() {
                ones[at] |= byte;
                zeros[at] |= !byte;
            }
        }
        assert_eq!((ones, zeros), ([0xff; 45], [0xff; 45]));
    }

    #[test]
    fn no_bytes_can_be_asked_for() {
        assert!(random_bytes::<0>().is_empty());
    }
}
