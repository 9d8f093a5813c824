//! Which clients a service lets in, by their address.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

/// Networks that are let in, and networks that are kept out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Networks {
    /// Who is let in, whatever `deny` says; without `deny` nobody else is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<IpNet>>,
    /// Who is kept out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny: Option<Vec<IpNet>>,
}

impl Networks {
    /// Whether the client may come in.
    pub fn admit(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        let within = |list: &Vec<IpNet>| list.iter().any(|net| net.contains(&client));
        match (&self.allow, &self.deny) {
            (Some(allow), _) if within(allow) => true,
            (_, Some(deny)) => !within(deny),
            (Some(_), None) => false,
            (None, None) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(allow: Option<&[&str]>, deny: Option<&[&str]>, client: &str) -> bool {
        let list = |nets: &[&str]| nets.iter().map(|net| net.parse().unwrap()).collect();
        let networks = Networks { allow: allow.map(list), deny: deny.map(list) };
        networks.admit(client.parse().unwrap())
    }

    #[test]
    fn the_allow_list_wins_and_alone_excludes_everybody_else() {
        let (ours, all) = (Some(&["10.0.0.0/8"][..]), Some(&["0.0.0.0/0", "::/0"][..]));
        assert!(admitted(None, None, "192.0.2.1"));
        assert!(admitted(ours, None, "10.1.2.3") && !admitted(ours, None, "192.0.2.1"));
        assert!(admitted(ours, all, "10.1.2.3") && !admitted(ours, all, "192.0.2.1"));
        assert!(!admitted(None, ours, "10.1.2.3") && admitted(None, ours, "192.0.2.1"));
        assert!(admitted(Some(&["172.16.0.0/12"]), ours, "192.0.2.1"), "in neither list");
        assert!(!admitted(Some(&[]), None, "10.1.2.3"), "nobody");
    }

    #[test]
    fn an_ipv4_address_in_ipv6_clothes_is_the_same() {
        assert!(!admitted(None, Some(&["10.0.0.0/8"]), "::ffff:10.1.2.3"));
        assert!(!admitted(Some(&["10.0.0.0/8"]), None, "2001:db8::1"));
    }
}
