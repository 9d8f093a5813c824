//! Answers in lbd's own name.

#![cfg_attr(
    not(test),
    expect(clippy::indexing_slicing, reason = "indexes come from the same snapshot")
)]

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::{exchange::Exchange, headers, secure};
use crate::{
    model::{
        Moment,
        maintenance::{BYPASS_COOKIE, BYPASS_PATH, Gate},
    },
    page::{Form, Page, words},
};

/// The status of the final answer, if one was begun. Interim ones (1xx) do not count.
pub fn answered(session: &Session) -> Option<u16> {
    let status = session.response_written().map(|response| response.status.as_u16());
    status.filter(|status| *status >= 200 || *status == 101)
}

/// Answers a request that met maintenance: with the page, or through the secret link.
///
/// # Errors
///
/// If the client cannot be written to.
pub async fn maintain(session: &mut Session, exchange: &mut Exchange, gate: Gate) -> Result<()> {
    let lost = || Error::explain(ErrorType::InternalError, "a maintenance vanished");
    let view = exchange.view.clone().ok_or_else(lost)?;
    let at = exchange.service.ok_or_else(lost)?;
    let maintenance = view.snapshot.services[at].maintenance.clone().ok_or_else(lost)?;
    if gate == Gate::Link {
        let secret = maintenance.secret.as_deref().unwrap_or_default();
        let cookie =
            format!("{BYPASS_COOKIE}={secret}; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax");
        let cookie = HeaderValue::try_from(cookie).map_err(|_| lost())?;
        // Back to the service's own place: the link works below any of its paths.
        let path = session.req_header().uri.path();
        let place = path.split_once(BYPASS_PATH).map_or("", |(place, _)| place);
        let place = HeaderValue::try_from(format!("{place}/")).map_err(|_| lost())?;
        let extra = [(header::SET_COOKIE, cookie), (header::LOCATION, place)];
        return answer(
            session,
            exchange,
            303,
            &Page::new(303, "See Other", "You may pass."),
            &extra,
        )
        .await;
    }
    let now = Moment(jiff::Timestamp::now().as_millisecond().max(0).unsigned_abs());
    let seconds = maintenance.retry_after(now, view.retry_after);
    let extra = [(header::RETRY_AFTER, HeaderValue::from(seconds))];
    match view.services[at].page.clone() {
        Some(page) => answer(session, exchange, 503, &page, &extra).await,
        None => answer(session, exchange, 503, &Page::of_status(503), &extra).await,
    }
}

/// Answers a request that failed, and closes its connection. 499: its client is gone.
pub async fn answer_failure(session: &mut Session, exchange: &mut Exchange, status: u16) {
    if matches!(status, 400 | 408) {
        exchange.own_answer = true;
    }
    session.set_keepalive(None);
    if status != 499 && answered(session).is_none() {
        let retry_after = [(header::RETRY_AFTER, HeaderValue::from_static("5"))];
        let extra = if status == 503 { &retry_after[..] } else { &[] };
        // A client that is gone cannot be told anything.
        let _ = refuse(session, exchange, status, extra).await;
    }
    if !session.is_body_done() {
        // Closed with unread bytes, the answer would be destroyed by a reset.
        session.shutdown().await;
    }
}

/// Answers with a status and its page: the service's own if it has one, else a plain one.
///
/// # Errors
///
/// If the client cannot be written to.
pub async fn refuse(
    session: &mut Session,
    exchange: &Exchange,
    status: u16,
    extra: &[(header::HeaderName, HeaderValue)],
) -> Result<()> {
    let field = exchange.field();
    let own = field.and_then(|field| field.service.settings.policy.error_pages.html(status));
    let page = match own {
        Some(html) => {
            let (title, sentence) = words(status);
            Page::with_html(html, status, title, sentence)
        }
        None => Page::of_status(status),
    };
    answer(session, exchange, status, &page, extra).await
}

/// Answers in lbd's own name.
///
/// # Errors
///
/// If the client cannot be written to.
async fn answer(
    session: &mut Session,
    exchange: &Exchange,
    status: u16,
    page: &Page,
    extra: &[(header::HeaderName, HeaderValue)],
) -> Result<()> {
    let request = session.req_header();
    let accept = request.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let form = Form::of(accept);
    let is_head = request.method == Method::HEAD;
    let body = page.body(form);
    let mut response = ResponseHeader::build(status, Some(8))?;
    response.insert_header(header::CONTENT_TYPE, form.media())?;
    response.insert_header(header::CONTENT_LENGTH, body.len())?;
    response.insert_header(header::CACHE_CONTROL, "no-store")?;
    response.insert_header(headers::REQUEST_ID, exchange.id.clone())?;
    if let Some((name, value)) = exchange.client.as_deref().and_then(secure::hsts) {
        response.insert_header(name, value)?;
    }
    for (name, value) in extra {
        response.insert_header(name, value)?;
    }
    if exchange.client.as_ref().is_some_and(|c| c.is_draining()) {
        session.set_keepalive(None);
    }
    // What goes wrong here is the client's connection.
    session.write_response_header(Box::new(response), is_head).await.map_err(Error::into_down)?;
    if !is_head {
        let body = Bytes::copy_from_slice(body.as_bytes());
        session.write_response_body(Some(body), true).await.map_err(Error::into_down)?;
    }
    Ok(())
}
