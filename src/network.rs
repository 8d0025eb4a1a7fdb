//! Where a client is and what it is, as far as address and User-Agent tell. Recorded and told, and used to widen times;
//! never a reason to let somebody in or to keep somebody out.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::config::{NetworkClass, Word};

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

/// The class of every network that none was configured for.
pub const OTHER: &str = "other";

/// Names for networks.
#[derive(Clone, Debug, Default)]
pub struct Networks(Vec<NetworkClass>);

impl Networks {
    /// These classes. Of two with the same network the first counts.
    #[must_use]
    pub fn new(classes: &[NetworkClass]) -> Self {
        let mut classes = classes.to_vec();
        // The sort is stable, so that the order of the file decides between equals.
        classes.sort_by_key(|class| std::cmp::Reverse(class.network().prefix()));
        Self(classes)
    }

    /// The name of the longest prefix that `address` lies in, [`OTHER`] where none fits.
    #[must_use]
    pub fn class(&self, address: IpAddr) -> &str {
        self.0.iter().find(|class| class.network().contains(address)).map_or(OTHER, NetworkClass::name)
    }
}

/// Words that tell the class of a program by its User-Agent.
#[derive(Clone, Debug, Default)]
pub struct Agents {
    mobile: Vec<String>,
    desktop: Vec<String>,
}

impl Agents {
    /// These words; their case does not count.
    #[must_use]
    pub fn new(desktop: &[Word], mobile: &[Word]) -> Self {
        let lower = |words: &[Word]| words.iter().map(|word| word.as_str().to_lowercase()).collect();
        Self { mobile: lower(mobile), desktop: lower(desktop) }
    }

    /// What a User-Agent suggests. The words of mobile programs are looked for first, since `Dino/0.4 (Android)` is
    /// rather a phone than a computer.
    #[must_use]
    pub fn class(&self, user_agent: &str) -> AgentClass {
        let agent = user_agent.to_lowercase();
        let has_one_of = |words: &[String]| words.iter().any(|word| agent.contains(word.as_str()));
        if has_one_of(&self.mobile) {
            AgentClass::Mobile
        } else if has_one_of(&self.desktop) {
            AgentClass::Desktop
        } else {
            AgentClass::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Config};

    fn networks(classes: &str) -> Networks {
        let env = [("PLIMSOLL_NETWORK__CLASSES".into(), classes.into())];
        Networks::new(&config::load(None, env).unwrap().config.network.classes)
    }

    fn agents() -> Agents {
        let grace = Config::default().grace;
        Agents::new(&grace.desktop_agents, &grace.mobile_agents)
    }

    #[test]
    fn the_longest_prefix_names_the_class_whatever_the_order() {
        for order in [
            "all=0.0.0.0/0,office=192.0.2.0/24,desk=192.0.2.7/32,six=2001:db8::/32",
            "desk=192.0.2.7/32,six=2001:db8::/32,office=192.0.2.0/24,all=0.0.0.0/0",
        ] {
            let networks = networks(order);
            for (address, class) in [
                ("192.0.2.7", "desk"),
                ("192.0.2.8", "office"),
                ("::ffff:192.0.2.8", "office"),
                ("198.51.100.1", "all"),
                ("2001:db8::1", "six"),
                ("2001:db9::1", OTHER),
            ] {
                assert_eq!(networks.class(address.parse().unwrap()), class, "{address} in {order}");
            }
        }
    }

    #[test]
    fn without_classes_every_address_is_other_and_of_equal_networks_the_first_counts() {
        assert_eq!(Networks::default().class("192.0.2.1".parse().unwrap()), OTHER);
        assert_eq!(networks("a=10.0.0.0/8,b=10.0.0.0/8").class("10.1.1.1".parse().unwrap()), "a");
    }

    #[test]
    fn agents_as_they_are_seen_are_classed() {
        let desktop =
            ["Dino/0.4.5", "gajim 1.9.5", "Gajim/1.8.4 (Windows)", "Profanity/0.14.0", "libpurple/Pidgin"];
        let mobile = [
            "Conversations/2.17.2",
            "Conversations.im/2.12.4 okhttp/4.12.0",
            "Cheogram/2.13.4-1",
            "monal/915 CFNetwork/1496.0.7 Darwin/23.5.0",
            "Siskin%20IM/719 CFNetwork/1410.0.3 Darwin/22.6.0",
            "OKHTTP/5.0.0-alpha.2",
            "Dalvik/2.1.0 (Linux; U; Android 14; Pixel 7)",
            "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Mobile Safari/537.36",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Mobile Safari/604.1",
            "Dino/0.4 (Android)",
        ];
        let other = [
            "",
            " ",
            "curl/8.14.1",
            "python-requests/2.32.3",
            "Python/3.13 aiohttp/3.9.5",
            "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36",
            "\u{130}\u{fb01}\u{1f6d2}",
        ];
        let agents = agents();
        for (class, seen) in [
            (AgentClass::Desktop, &desktop[..]),
            (AgentClass::Mobile, &mobile[..]),
            (AgentClass::Other, &other[..]),
        ] {
            for agent in seen {
                assert_eq!(agents.class(agent), class, "{agent:?}");
            }
        }
    }

    #[test]
    fn without_words_every_agent_is_other() {
        assert_eq!(Agents::default().class("Dino/0.4.5"), AgentClass::Other);
    }
}
