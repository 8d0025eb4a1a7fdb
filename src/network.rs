//! Where a client is and what it is, as far as address and User-Agent tell. Recorded and told, and used to widen times;
//! never a reason to let somebody in or to keep somebody out.

use serde::{Deserialize, Serialize};

/// What a User-Agent suggests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AgentClass {
    /// A program on a computer, such as Dino or Gajim.
    Desktop,
    /// A program on a phone, such as Conversations or Monal.
    Mobile,
    /// Anything else.
    #[default]
    Other,
}

impl AgentClass {
    /// A word for logs and metric labels.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Desktop => "desktop",
            Self::Mobile => "mobile",
            Self::Other => "other",
        }
    }
}
