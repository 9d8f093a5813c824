//! Proves to an ACME server that a name is lbd's (RFC 8555, section 8.3).

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, header};
use pingora_core::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use super::{client::Client, exchange::Exchange, headers};
use crate::view::View;

const PLACE: &str = "/.well-known/acme-challenge/";

/// Gives the proof that a request asks for, while one is to be given. False if it asks for none.
///
/// # Errors
///
/// If the client cannot be written to.
pub async fn give(
    session: &mut Session,
    exchange: &Exchange,
    client: &Client,
    view: &View,
) -> Result<bool> {
    let proofs = view.proofs.as_deref().filter(|_| !client.is_secure);
    let proof = proofs.and_then(|proofs| asked(session.req_header(), proofs));
    let Some(proof) = proof.cloned() else { return Ok(false) };
    client.begin(None);
    answer(session, exchange, proof).await?;
    Ok(true)
}

/// The token decides, whichever host is named.
fn asked<'p>(request: &RequestHeader, proofs: &'p BTreeMap<String, String>) -> Option<&'p String> {
    let is_reading = matches!(request.method, Method::GET | Method::HEAD);
    let token = request.uri.path().strip_prefix(PLACE).filter(|_| is_reading)?;
    proofs.get(token)
}

async fn answer(session: &mut Session, exchange: &Exchange, proof: String) -> Result<()> {
    let is_head = session.req_header().method == Method::HEAD;
    let mut response = ResponseHeader::build(200, Some(4))?;
    response.insert_header(header::CONTENT_TYPE, "text/plain")?;
    response.insert_header(header::CONTENT_LENGTH, proof.len())?;
    response.insert_header(header::CACHE_CONTROL, "no-store")?;
    response.insert_header(headers::REQUEST_ID, exchange.id.clone())?;
    if exchange.client.as_ref().is_some_and(|client| client.is_draining()) {
        session.set_keepalive(None);
    }
    // What goes wrong here is the client's connection.
    session.write_response_header(Box::new(response), is_head).await.map_err(Error::into_down)?;
    if !is_head {
        let body = Some(Bytes::from(proof));
        session.write_response_body(body, true).await.map_err(Error::into_down)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_token_of_an_order_in_progress_is_answered() {
        let proofs = BTreeMap::from([("token".to_owned(), "token.thumb".to_owned())]);
        let proof = |method: &str, path: &str| {
            let request = RequestHeader::build(method, path.as_bytes(), None).unwrap();
            asked(&request, &proofs).map(String::as_str)
        };
        let place = "/.well-known/acme-challenge";
        let given = Some("token.thumb");
        assert_eq!(proof("GET", &format!("{place}/token")), given);
        assert_eq!(proof("GET", &format!("{place}/token?x=1")), given);
        assert_eq!(proof("HEAD", &format!("{place}/token")), given);
        for (method, path) in [
            ("POST", "/token"),
            ("GET", "/other"),
            ("GET", "/token/"),
            ("GET", "/"),
            ("GET", "//token"),
        ] {
            assert_eq!(proof(method, &format!("{place}{path}")), None, "{method} {path}");
        }
        assert_eq!(proof("GET", "/token"), None);
    }
}
