//! Reads single values that name a place: addresses, networks, hosts, paths.
//!
//! Each reader answers `None` after it has reported what is wrong and what to write instead.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use ipnet::IpNet;

use super::{Read, reader::Value, values::parsed};
use crate::model::address::{Address, is_host_name};

/// Longest path of a Unix socket in bytes: `sun_path` holds 108 with its terminator.
const SOCKET_PATH_MAX: usize = 107;

/// Longest web address in bytes.
const URL_MAX: usize = 2048;
/// Longest mail address in bytes (RFC 5321, section 4.5.3.1.3, without its brackets).
const MAIL_ADDRESS_MAX: usize = 254;

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

/// A host name, `*.` and a host name, an IPv4 address, or `*` for every other host; in lower case.
pub(super) fn host(value: &Value<'_>) -> Option<String> {
    let is_host = |text: &&str| {
        let name = text.strip_prefix("*.").unwrap_or(text);
        *text == "*" || is_host_name(name) || text.parse::<Ipv4Addr>().is_ok()
    };
    let typed = value.text().filter(is_host);
    // Requests are looked up without the final dot.
    typed.map(|text| text.trim_end_matches('.').to_ascii_lowercase()).or_else(|| {
        let write = "a name without scheme, port and path, as in \"www.example.com\" or \
                     \"*.example.com\"; \"*\" takes any other";
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
    value.text().filter(|text| is_authority(text)).map(Into::into).or_else(|| {
        value.is_not("a host", "HOST or HOST:PORT, as in \"app.internal\" or \"app.internal:8080\"")
    })
}

/// A host name or IP address, perhaps with a port.
pub(super) fn is_authority(text: &str) -> bool {
    let name = match text.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => text,
    };
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    is_host_name(name) || bare.parse::<IpAddr>().is_ok()
}

/// An `http://` or `https://` address. The messages do not repeat it: its path may be a secret.
pub(super) fn web_address(value: &Value<'_>) -> Option<Arc<str>> {
    let write = "one that begins with https:// or http://, as in \"https://hooks.example.com/lbd\"";
    let refuse = || value.problem(format!("is not a web address; write {write}"));
    let Some(text) = value.text() else { return refuse() };
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let authority = rest.and_then(|rest| rest.split(['/', '?']).next());
    if authority.is_some_and(|authority| authority.contains('@')) {
        return value.problem("has a user or password in it; write the address without them");
    }
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    let is_address = plain && authority.is_some_and(is_authority) && text.len() <= URL_MAX;
    if is_address && text.parse::<http::Uri>().is_ok() { Some(text.into()) } else { refuse() }
}

/// A mail server: `smtp://HOST:PORT` or `smtps://HOST:PORT`. A password in it is not repeated.
pub(super) fn mail_server(value: &Value<'_>) -> Option<Arc<str>> {
    let typed = value.text().unwrap_or_default();
    if typed.contains('@') {
        return value
            .problem("has a user or password in it; write them as the keys username and password");
    }
    let place = typed.strip_prefix("smtps://").or_else(|| typed.strip_prefix("smtp://"));
    match place.map(str::parse) {
        Some(Ok(Address::Ip(_) | Address::Host { .. })) => Some(typed.into()),
        _ => value.is_not(
            "a mail server",
            "smtp://HOST:PORT or smtps://HOST:PORT, as in \"smtp://mail.example.com:587\"",
        ),
    }
}

/// A mail address as SMTP takes it: no display name, no brackets.
pub(super) fn mail_address(value: &Value<'_>) -> Option<Arc<str>> {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"<>()[],:;\\\"".contains(c);
    let is_address = |text: &&str| {
        text.len() <= MAIL_ADDRESS_MAX
            && text.chars().all(plain)
            && text.split_once('@').is_some_and(|(user, host)| {
                !user.is_empty() && !host.is_empty() && !host.contains('@')
            })
    };
    let write = "one with a single @ and without spaces, as in \"ops@example.com\"";
    value
        .text()
        .filter(is_address)
        .map(Into::into)
        .or_else(|| value.is_not("a mail address", write))
}

/// The path of a file, and what is in it; `write` says what to write if it cannot be read.
pub(super) fn file_content(
    value: &Value<'_>,
    read: Read<'_>,
    write: &str,
) -> Option<(PathBuf, String)> {
    let path = file_path(value)?;
    match read(&path) {
        Ok(text) => Some((path, text)),
        Err(error) => value.problem(format!("{} cannot be read: {error}; {write}", value.shown())),
    }
}

/// `path` seen from the folder of `file`.
pub fn beside(file: &Path, path: &Path) -> PathBuf {
    file.parent().map_or_else(|| path.to_owned(), |folder| folder.join(path))
}

#[cfg(test)]
mod tests {
    use super::{
        super::reader::{read_one, read_table as table},
        *,
    };

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
                ("'*'", "\"*\""),
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
    fn web_addresses_are_not_repeated() {
        let good =
            ["https://a", "http://a.example:80/p?q=1", "https://[::1]:8443/x", "https://a?b@c"];
        for text in good {
            let read = read_one(&format!("'{text}'"), web_address).unwrap();
            assert_eq!(&*read, text);
        }
        for text in [
            "1",
            "''",
            "'a.secret'",
            "'ftp://a.secret'",
            "'https://'",
            "'https:///secret'",
            "'https://secret:99999'",
            "'https://a/secret#b'",
            "'https://a/se cret'",
            "'https://a/sécret'",
            "'HTTPS://secret'",
            "'https://user:secret@a/'",
            "['secret']",
            &format!("'https://secret/{}'", "x".repeat(URL_MAX)),
        ] {
            let message = read_one(text, web_address).unwrap_err();
            assert!(message.contains("; write ") && !message.contains("cret"), "{message}");
        }
    }

    #[test]
    fn mail_servers_and_addresses() {
        table(
            mail_server,
            &[
                ("'smtp://mail.example.com:587'", "\"smtp://mail.example.com:587\""),
                ("'smtps://[::1]:465'", "\"smtps://[::1]:465\""),
                ("'smtp://mail'", "-"),
                ("'smtp://mail:0'", "-"),
                ("'smtp://mail:25/'", "-"),
                ("'smtp://unix:/a'", "-"),
                ("'mail:25'", "-"),
                ("'http://mail:25'", "-"),
                ("25", "-"),
            ],
        );
        let message = read_one("'smtp://me:secret@mail:25'", mail_server).unwrap_err();
        assert!(message.contains("; write ") && !message.contains("secret"), "{message}");
        let good = ("'ops+lbd@example.com'", "\"ops+lbd@example.com\"");
        let long = format!("'a@{}'", "x".repeat(MAIL_ADDRESS_MAX));
        table(mail_address, &[good, ("'root@localhost'", "\"root@localhost\"")]);
        for text in ["1", "''", "'a'", "'@a'", "'a@'", "'a@b@c'", "'a b@c'", "'A <a@b>'", "'a,b@c'"]
        {
            table(mail_address, &[(text, "-")]);
        }
        table(mail_address, &[("\"a@b\\r\\nX: y\"", "-"), (&long, "-")]);
    }

    #[test]
    fn files_are_found_beside_the_config() {
        let file = Path::new("/etc/lbd/lbd.toml");
        assert_eq!(beside(file, Path::new("page.html")), Path::new("/etc/lbd/page.html"));
        assert_eq!(beside(file, Path::new("/srv/page.html")), Path::new("/srv/page.html"));
        assert_eq!(beside(Path::new("lbd.toml"), Path::new("p.html")), Path::new("p.html"));
    }
}
