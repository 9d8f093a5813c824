//! Reads single values that name a place: addresses, networks, hosts, paths.
//!
//! Each reader answers `None` after it has reported what is wrong and what to write instead.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use ipnet::IpNet;

use super::{reader::Value, values::parsed};
use crate::model::address::is_host_name;

/// Longest path of a Unix socket in bytes: `sun_path` holds 108 with its terminator.
const SOCKET_PATH_MAX: usize = 107;

/// An IP address with a port, as in `"0.0.0.0:80"`.
pub(super) fn socket_address(value: &Value<'_>) -> Option<SocketAddr> {
    let write = "IP:PORT, as in \"0.0.0.0:80\", \"127.0.0.1:8080\" or \"[::]:80\"";
    parsed(value, "an address to listen on", write)
}

/// A network in CIDR form, or a single address.
pub(super) fn network(value: &Value<'_>) -> Option<IpNet> {
    let one = |text: &str| text.parse::<IpAddr>().ok().map(IpNet::from);
    let typed = value.text().and_then(|text| text.parse().ok().or_else(|| one(text)));
    let write = "an IP address or a network, as in \"192.0.2.7\" or \"10.0.0.0/8\"";
    typed.or_else(|| value.is_not("a network", write))
}

/// A path that begins with `/`.
pub(super) fn absolute_path(value: &Value<'_>) -> Option<PathBuf> {
    let absolute = |text: &&str| text.starts_with('/') && !text.contains('\0');
    let typed = value.text().filter(absolute).map(PathBuf::from);
    typed.or_else(|| value.is_not("an absolute path", "one that begins with / in quotes"))
}

/// The path of a Unix socket.
pub(super) fn socket_path(value: &Value<'_>) -> Option<PathBuf> {
    let path = absolute_path(value)?;
    match path.as_os_str().len() {
        0..=SOCKET_PATH_MAX => Some(path),
        long => value.problem(format!(
            "is {long} bytes long, which is more than the system allows for a socket; \
             write at most {SOCKET_PATH_MAX}"
        )),
    }
}

/// The path of a file, relative to the config file or absolute.
pub(super) fn file_path(value: &Value<'_>) -> Option<PathBuf> {
    let typed = value.text().filter(|text| !text.is_empty() && !text.contains('\0'));
    typed.map(PathBuf::from).or_else(|| {
        value.is_not("the path of a file", "one in quotes, as in \"/etc/lbd/maintenance.html\"")
    })
}

/// A host name, `*.` and a host name, or an IPv4 address; in lower case.
pub(super) fn host(value: &Value<'_>) -> Option<String> {
    let is_host = |text: &&str| {
        let name = text.strip_prefix("*.").unwrap_or(text);
        is_host_name(name) || text.parse::<Ipv4Addr>().is_ok()
    };
    let typed = value.text().filter(is_host);
    // Requests are looked up without the final dot.
    typed.map(|text| text.trim_end_matches('.').to_ascii_lowercase()).or_else(|| {
        let write = "a name without scheme, port and path, as in \"www.example.com\" or \
                     \"*.example.com\", or leave hosts out to take any";
        value.is_not("a host", write)
    })
}

/// A prefix of URL paths.
pub(super) fn path_prefix(value: &Value<'_>) -> Option<String> {
    // Clients send other characters percent-encoded, and are compared as they send.
    let is_prefix = |text: &&str| {
        text.starts_with('/')
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte))
    };
    value.text().filter(is_prefix).map(str::to_owned).or_else(|| {
        value.is_not(
            "a path prefix",
            "one that begins with /, in ASCII without space, ? and #, as in \"/api\"",
        )
    })
}

/// What a probe asks for: a path, perhaps with a query.
pub(super) fn request_path(value: &Value<'_>) -> Option<Box<str>> {
    let is_path = |text: &&str| {
        text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
    };
    value.text().filter(is_path).map(Into::into).or_else(|| {
        value
            .is_not("a request path", "one that begins with / and has no space, as in \"/healthz\"")
    })
}

/// A `Host` header: a host name or IP address, perhaps with a port.
pub(super) fn host_header(value: &Value<'_>) -> Option<Box<str>> {
    let is_host = |text: &&str| {
        let name = match text.rsplit_once(':') {
            Some((name, port)) if port.parse::<u16>().is_ok() => name,
            _ => text,
        };
        let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
        is_host_name(name) || bare.parse::<IpAddr>().is_ok()
    };
    value.text().filter(is_host).map(Into::into).or_else(|| {
        value.is_not("a host", "HOST or HOST:PORT, as in \"app.internal\" or \"app.internal:8080\"")
    })
}

/// `path` seen from the folder of `file`.
pub(super) fn beside(file: &Path, path: &Path) -> PathBuf {
    file.parent().map_or_else(|| path.to_owned(), |folder| folder.join(path))
}

#[cfg(test)]
mod tests {
    use super::{super::reader::read_table as table, *};

    #[test]
    fn addresses_and_networks() {
        table(
            socket_address,
            &[
                ("'0.0.0.0:80'", "0.0.0.0:80"),
                ("'[::1]:0'", "[::1]:0"),
                ("':80'", "-"),
                ("'localhost:80'", "-"),
                ("'0.0.0.0'", "-"),
                ("80", "-"),
            ],
        );
        table(
            network,
            &[
                ("'10.0.0.0/8'", "10.0.0.0/8"),
                ("'192.0.2.7'", "192.0.2.7/32"),
                ("'2001:db8::1'", "2001:db8::1/128"),
                ("'10.0.0.0/33'", "-"),
                ("'any'", "-"),
            ],
        );
    }

    #[test]
    fn paths_and_sockets() {
        table(
            absolute_path,
            &[("'/a'", "\"/a\""), ("'a'", "-"), ("''", "-"), ("\"/\\u0000\"", "-")],
        );
        let long = format!("'/{}'", "x".repeat(107));
        table(socket_path, &[("'/run/lbd.sock'", "\"/run/lbd.sock\""), (&long, "-")]);
        table(file_path, &[("'a.html'", "\"a.html\""), ("''", "-"), ("1", "-")]);
    }

    #[test]
    fn hosts_and_prefixes() {
        table(
            host,
            &[
                ("'WWW.Example.com.'", "\"www.example.com\""),
                ("'*.example.com'", "\"*.example.com\""),
                ("'127.0.0.1'", "\"127.0.0.1\""),
                ("'http://a'", "-"),
                ("'a:80'", "-"),
                ("'a/b'", "-"),
                ("'*'", "-"),
                ("'*.*.a'", "-"),
                ("'*.127.0.0.1'", "-"),
                ("''", "-"),
            ],
        );
        table(
            path_prefix,
            &[
                ("'/'", "\"/\""),
                ("'/api'", "\"/api\""),
                ("'api'", "-"),
                ("'/a?b'", "-"),
                ("'/a#b'", "-"),
                ("'/a b'", "-"),
                ("'/é'", "-"),
            ],
        );
        table(
            request_path,
            &[("'/h?x=1'", "\"/h?x=1\""), ("'h'", "-"), ("'/a b'", "-"), ("'/é'", "-")],
        );
        table(
            host_header,
            &[
                ("'app'", "\"app\""),
                ("'app:80'", "\"app:80\""),
                ("'127.0.0.1:80'", "\"127.0.0.1:80\""),
                ("'[::1]:80'", "\"[::1]:80\""),
                ("'a b'", "-"),
                ("''", "-"),
            ],
        );
    }

    #[test]
    fn files_are_found_beside_the_config() {
        let file = Path::new("/etc/lbd/lbd.toml");
        assert_eq!(beside(file, Path::new("page.html")), Path::new("/etc/lbd/page.html"));
        assert_eq!(beside(file, Path::new("/srv/page.html")), Path::new("/srv/page.html"));
        assert_eq!(beside(Path::new("lbd.toml"), Path::new("p.html")), Path::new("p.html"));
    }
}
