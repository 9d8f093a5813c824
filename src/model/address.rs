//! Where an endpoint is: an IP address, a host name or a Unix socket, each with its identity text.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    str::FromStr,
    sync::Arc,
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::units::as_text;

/// What an operator writes for an endpoint: its identity. The weight is not part of it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Address {
    /// `127.0.0.1:9000` or `[::1]:9000`.
    Ip(SocketAddr),
    /// `app.internal:9000`; resolved again and again in the background.
    Host {
        /// The host name, lower case.
        host: Arc<str>,
        /// The port.
        port: u16,
    },
    /// `unix:/run/app.sock`.
    Unix(Arc<Path>),
}

/// Where a connection goes in the end.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Target {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(Arc<Path>),
}

impl Target {
    /// The first of all in their order.
    pub const FIRST: Self = Self::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0));
}

impl Address {
    /// The target, where it is known without asking a name server.
    pub fn fixed_target(&self) -> Option<Target> {
        match self {
            Self::Ip(address) => Some(Target::Tcp(*address)),
            Self::Unix(path) => Some(Target::Unix(path.clone())),
            Self::Host { .. } => None,
        }
    }

    /// The name that metrics and status give one target of this address.
    pub fn label(&self, target: &Target) -> String {
        match (self, target) {
            (Self::Host { .. }, Target::Tcp(address)) => format!("{self}@{}", address.ip()),
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Host { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A text that is not an endpoint address.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is not an endpoint address; write HOST:PORT, IP:PORT, [IPv6]:PORT or unix:/path")]
pub struct NotAnAddress(pub String);

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let refuse = || NotAnAddress(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            // sun_path holds 108 bytes with its terminator.
            let fits = path.starts_with('/') && path.len() < 108 && !path.contains('\0');
            return if fits { Ok(Self::Unix(Path::new(path).into())) } else { Err(refuse()) };
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return if address.port() == 0 { Err(refuse()) } else { Ok(Self::Ip(address)) };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(refuse)?;
        let port: u16 = port.parse().map_err(|_| refuse())?;
        if port == 0 || !is_host_name(host) {
            return Err(refuse());
        }
        Ok(Self::Host { host: host.to_ascii_lowercase().into(), port })
    }
}

as_text!(Address, "HOST:PORT, IP:PORT, [IPv6]:PORT or unix:/path");

/// Letters, digits, `-` and `_` in labels of 1 to 63, at most 253 in all, and not a bad IP address.
pub fn is_host_name(text: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    let last_is_number = name
        .rsplit('.')
        .next()
        .is_some_and(|l| !l.is_empty() && l.bytes().all(|b| b.is_ascii_digit()));
    name.len() <= 253 && name.split('.').all(label) && !last_is_number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_and_print_the_same() {
        for text in
            ["127.0.0.1:9000", "[::1]:80", "app.internal:8080", "localhost:1", "unix:/run/app.sock"]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("APP:80".parse::<Address>().unwrap().to_string(), "app:80");
    }

    #[test]
    fn what_is_not_an_address_is_refused() {
        for text in [
            "",
            "host",
            "host:",
            ":80",
            "host:0",
            "1.2.3.4:0",
            "host:99999",
            "1.2.3:80",
            "a b:80",
            "unix:",
            "unix:relative",
            "http://a:80",
            "300.1.1.1:80",
            "::1:80",
            "-a:80",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
