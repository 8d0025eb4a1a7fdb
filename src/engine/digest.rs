//! Checksums of a request's bytes: what a client claims of them, and whether it is so.

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};

/// The algorithms, by the names that tus gives them: lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RFC 3174.
    Sha1,
    /// FIPS 180-4.
    Sha256,
    /// FIPS 180-4.
    Sha512,
    /// RFC 1321.
    Md5,
    /// Castagnoli, four bytes, most significant first.
    Crc32c,
    /// Of ISO 3309, as zip and gzip have it; four bytes, most significant first.
    Crc32,
}

impl Algorithm {
    /// All of them, the one that tus asks for first.
    pub const ALL: [Self; 6] = [Self::Sha1, Self::Sha256, Self::Sha512, Self::Md5, Self::Crc32c, Self::Crc32];

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::Md5 => "md5",
            Self::Crc32c => "crc32c",
            Self::Crc32 => "crc32",
        }
    }

    /// The algorithm of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Bytes of its result.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
            Self::Md5 => 16,
            Self::Crc32c | Self::Crc32 => 4,
        }
    }
}

/// What the client says the bytes of its request add up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// How.
    pub algorithm: Algorithm,
    /// To what. One that is not as long as [`Algorithm::size`] matches nothing.
    pub value: Vec<u8>,
}

/// Whether and when a request claims something of its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Check {
    /// It does not.
    #[default]
    None,
    /// In its head.
    Claimed(Claim),
    /// Behind its body, as a trailer.
    InTrailer,
}

/// A checksum in the making.
#[derive(Clone, Debug)]
pub enum Running {
    /// See [`Algorithm`].
    Sha1(Sha1),
    /// See [`Algorithm`].
    Sha256(Sha256),
    /// See [`Algorithm`].
    Sha512(Sha512),
    /// See [`Algorithm`].
    Md5(Md5),
    /// See [`Algorithm`].
    Crc32c(u32),
    /// See [`Algorithm`].
    Crc32(crc32fast::Hasher),
}

impl Running {
    /// Of no bytes yet.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha1 => Self::Sha1(Sha1::new()),
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
            Algorithm::Md5 => Self::Md5(Md5::new()),
            Algorithm::Crc32c => Self::Crc32c(0),
            Algorithm::Crc32 => Self::Crc32(crc32fast::Hasher::new()),
        }
    }

    /// Take more bytes.
    pub fn update(&mut self, data: &[u8]) {
        match self {
            Self::Sha1(state) => state.update(data),
            Self::Sha256(state) => state.update(data),
            Self::Sha512(state) => state.update(data),
            Self::Md5(state) => state.update(data),
            Self::Crc32c(state) => *state = crc32c::crc32c_append(*state, data),
            Self::Crc32(state) => state.update(data),
        }
    }

    /// The result.
    #[must_use]
    pub fn value(self) -> Vec<u8> {
        match self {
            Self::Sha1(state) => state.finalize().to_vec(),
            Self::Sha256(state) => state.finalize().to_vec(),
            Self::Sha512(state) => state.finalize().to_vec(),
            Self::Md5(state) => state.finalize().to_vec(),
            Self::Crc32c(state) => state.to_be_bytes().to_vec(),
            Self::Crc32(state) => state.finalize().to_be_bytes().to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn every_algorithm_gives_the_published_result_for_123456789() {
        for (algorithm, result) in [
            (Algorithm::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
            (Algorithm::Sha256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
            (
                Algorithm::Sha512,
                "d9e6762dd1c8eaf6d61b3c6192fc408d4d6d5f1176d0c29169bc24e71c3f274ad27fcd5811b313d681f7e55ec02d73d4\
                 99c95455b6b5bb503acf574fba8ffe85",
            ),
            (Algorithm::Md5, "25f9e794323b453885f5181f1b624d0b"),
            (Algorithm::Crc32c, "e3069283"),
            (Algorithm::Crc32, "cbf43926"),
        ] {
            let mut running = Running::new(algorithm);
            running.update(b"1234");
            running.update(b"");
            running.update(b"56789");
            let value = running.value();
            assert_eq!(hex(&value), result, "{}", algorithm.name());
            assert_eq!(value.len(), algorithm.size());
        }
    }
}
