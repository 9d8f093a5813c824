//! Sends clients to TLS, and tells browsers to stay there.

use http::{HeaderName, HeaderValue, header};
use pingora_http::RequestHeader;
use pingora_proxy::Session;

use super::{answer::refuse, client::Client, exchange::Exchange, facts::without_port};
use crate::model::Millis;

const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// Sends a request that must come through TLS there. False if it may stay.
///
/// # Errors
///
/// If the client cannot be written to.
pub async fn send_to_tls(
    session: &mut Session,
    exchange: &Exchange,
    client: &Client,
) -> pingora_core::Result<bool> {
    let Some(location) = elsewhere(session.req_header(), client) else { return Ok(false) };
    client.begin(None);
    match location {
        Some(location) => {
            let status = redirect_status(&session.req_header().method);
            let extra = [(header::LOCATION, location)];
            refuse(session, exchange, status, &extra).await?;
        }
        None => refuse(session, exchange, 400, &[]).await?,
    }
    Ok(true)
}

/// Where a request that came without TLS is sent, if its listener says so; not if a trusted proxy in
/// front says that its client came through TLS. `Some(None)`: it names no host to send it to.
fn elsewhere(request: &RequestHeader, client: &Client) -> Option<Option<HeaderValue>> {
    if !client.listener.redirect_to_https || client.is_secure {
        return None;
    }
    let came_secure = || {
        client.is_trusted(client.peer.ip())
            && request.headers.get(FORWARDED_PROTO).is_some_and(|proto| proto == "https")
    };
    if came_secure() {
        return None;
    }
    let host = request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.map(without_port).filter(|host| !host.is_empty());
    Some(host.and_then(|host| {
        let path = request.uri.path_and_query().map_or("/", |path| path.as_str());
        HeaderValue::try_from(format!("https://{host}{path}")).ok()
    }))
}

/// The status of such a redirect: methods with a body are sent again as they are.
fn redirect_status(method: &http::Method) -> u16 {
    if matches!(*method, http::Method::GET | http::Method::HEAD) { 301 } else { 308 }
}

/// Tells browsers for how long to come through TLS only, if the listener says so.
pub fn hsts(client: &Client) -> Option<(HeaderName, HeaderValue)> {
    let value = format!("max-age={}", hsts_secs(client)?);
    Some((header::STRICT_TRANSPORT_SECURITY, HeaderValue::try_from(value).ok()?))
}

/// For how many seconds [`hsts`] tells them to.
pub fn hsts_secs(client: &Client) -> Option<u64> {
    client.listener.hsts.filter(|_| client.is_secure).map(Millis::secs_ceil)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{announcement::Ends, listener::Listener};

    fn client(peer: &str, is_secure: bool) -> Client {
        let listener = Listener {
            redirect_to_https: true,
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            hsts: Some(crate::model::Millis::from_secs(60)),
            ..Listener::at("127.0.0.1:80".parse().unwrap())
        };
        let ends = Ends { client: peer.parse().unwrap(), here: listener.address };
        let mut client = Client::new(ends, Arc::new(listener), Arc::default());
        client.is_secure = is_secure;
        client
    }

    fn location(headers: &[(&'static str, &str)], client: &Client) -> Option<Option<String>> {
        let mut request = RequestHeader::build("GET", b"/a?b=c", None).unwrap();
        for (name, value) in headers {
            request.append_header(*name, *value).unwrap();
        }
        let text = |value: HeaderValue| value.to_str().unwrap().to_owned();
        elsewhere(&request, client).map(|location| location.map(text))
    }

    #[test]
    fn plain_requests_are_sent_to_tls() {
        let plain = client("192.0.2.1:1", false);
        let sent = |host: &'static str| location(&[("host", host)], &plain).unwrap().unwrap();
        assert_eq!(sent("a.example:8080"), "https://a.example/a?b=c");
        assert_eq!(sent("[2001:db8::1]:80"), "https://[2001:db8::1]/a?b=c");
        assert_eq!(sent("[2001:db8::1]"), "https://[2001:db8::1]/a?b=c");
        assert_eq!(location(&[], &plain), Some(None));
    }

    #[test]
    fn who_came_through_tls_stays() {
        let host = ("host", "a");
        assert_eq!(location(&[host], &client("192.0.2.1:1", true)), None);
        let claim = ("x-forwarded-proto", "https");
        assert_eq!(location(&[host, claim], &client("10.0.0.1:1", false)), None);
        assert!(location(&[host, claim], &client("192.0.2.1:1", false)).is_some());
    }

    #[test]
    fn browsers_are_told_through_tls_only() {
        assert!(hsts(&client("192.0.2.1:1", false)).is_none());
        assert_eq!(hsts(&client("192.0.2.1:1", true)).unwrap().1, "max-age=60");
    }
}
