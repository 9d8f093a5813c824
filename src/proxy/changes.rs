//! What a service's policy changes in the heads of requests and responses.

use std::borrow::Cow;

use http::{HeaderValue, Uri, header};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};

use super::{
    exchange::Exchange,
    facts::{Map, facts},
    headers::{forwarded, scheme},
    trace,
};
use crate::model::policy::{
    Policy,
    headers::Edit,
    rewrite::rewritten,
    template::{Template, Variable},
};

/// Changes `request`, which goes to an endpoint, as the policy says; `asked` is what the client sent.
///
/// # Errors
///
/// If a path has become too long for an address.
pub fn to_endpoint(
    asked: &RequestHeader,
    request: &mut RequestHeader,
    exchange: &Exchange,
) -> Result<()> {
    trace::to_endpoint(request, exchange)?;
    let Some(field) = exchange.field() else { return Ok(()) };
    let policy = &field.service.settings.policy;
    if policy.forwarded
        && let Some(client) = &exchange.client
    {
        // What distrusted clients said of it is gone by now.
        let scheme = scheme(asked, client);
        forwarded(request, asked.headers.get(header::HOST), scheme, client.peer.ip())?;
    }
    if policy.basic_auth.is_some() {
        // It was for this door.
        request.remove_header(&header::AUTHORIZATION);
    }
    if let Some(target) = target(asked, policy)? {
        request.set_uri(target);
    }
    if let Some(edits) = &policy.request_headers {
        let fill = |template: &Template| template.fill(|v| look(v, asked, exchange));
        for edit in edits.edits(fill) {
            match edit {
                Edit::Remove(name) => drop(request.remove_header(&name)),
                Edit::Set(name, value) => request.insert_header(name, value)?,
                Edit::Add(name, value) => drop(request.append_header(name, value)?),
            }
        }
    }
    Ok(())
}

/// What an endpoint is asked for, if that is something else than `asked` asks for.
///
/// # Errors
///
/// If the path has become too long for an address.
pub fn target(asked: &RequestHeader, policy: &Policy) -> Result<Option<Uri>> {
    let prefix = policy.strip_prefix.as_deref();
    if prefix.is_none() && policy.rewrite.is_empty() {
        return Ok(None);
    }
    let path = rewritten(asked.uri.path(), prefix, &policy.rewrite);
    path.map(|path| address(path, asked.uri.query())).transpose()
}

/// Changes `response`, which an endpoint gave, as the policy says; `asked` is what the client sent.
///
/// # Errors
///
/// If a value cannot be put into a header, which these always can.
pub fn to_client(
    asked: &RequestHeader,
    response: &mut ResponseHeader,
    exchange: &Exchange,
) -> Result<()> {
    let Some(field) = exchange.field() else { return Ok(()) };
    let Some(edits) = &field.service.settings.policy.response_headers else { return Ok(()) };
    let fill = |template: &Template| template.fill(|v| look(v, asked, exchange));
    for edit in edits.edits(fill) {
        match edit {
            Edit::Remove(name) => drop(response.remove_header(&name)),
            Edit::Set(name, value) => response.insert_header(name, value)?,
            Edit::Add(name, value) => drop(response.append_header(name, value)?),
        }
    }
    Ok(())
}

fn address(path: String, query: Option<&str>) -> Result<Uri> {
    let target = match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let malformed = |_| Error::explain(ErrorType::HTTPStatus(414), "the new path is no address");
    target.parse().map_err(malformed)
}

fn look<'a>(variable: Variable, asked: &'a RequestHeader, exchange: &'a Exchange) -> Cow<'a, str> {
    let (Some(address), Some(field)) = (exchange.address, exchange.field()) else {
        return "".into();
    };
    let headers = Map(&asked.headers);
    let facts = facts(asked, &headers, address);
    match variable {
        Variable::ClientIp => address.to_string().into(),
        Variable::Host => facts.host.to_owned().into(),
        Variable::Scheme => {
            exchange.client.as_ref().map_or("http", |client| scheme(asked, client)).into()
        }
        Variable::Path => asked.uri.path().into(),
        Variable::RequestId => exchange.id.to_str().unwrap_or_default().into(),
        Variable::UserId => {
            let id = facts.user_id(&field.service.settings.user_id);
            id.map_or_else(|| "".into(), |id| id.into_owned().into())
        }
        Variable::Pool => {
            let pool = exchange.choice().and_then(|choice| field.service.pools.get(choice.pool));
            pool.map_or("", |pool| pool.name.as_str()).into()
        }
        Variable::Service => field.service.name.as_str().into(),
    }
}

/// A value of `Location`.
pub fn location(text: String) -> Option<(header::HeaderName, HeaderValue)> {
    HeaderValue::try_from(text).ok().map(|value| (header::LOCATION, value))
}
