//! One call of the admin API: an operation with its parameters, terms and body.

use std::io;

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::Full;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use super::exit::Trouble;
use crate::{
    api::Op,
    model::{Revision, ServiceName},
};

/// What must be encoded in a segment or a query value: all but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The terms on which a command is given.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Check and answer, change nothing.
    pub dry_run: bool,
    /// Why, for the journal.
    pub reason: Option<String>,
    /// Refuse unless this revision is in force.
    pub if_revision: Option<Revision>,
}

/// One call of the API.
#[derive(Clone, Debug)]
pub struct Call {
    op: Op,
    segments: Vec<String>,
    query: Vec<(&'static str, String)>,
    body: Bytes,
    if_match: Option<Revision>,
}

impl Call {
    /// A call without parameters.
    pub fn new(op: Op) -> Self {
        let (segments, query) = (Vec::new(), Vec::new());
        Self { op, segments, query, body: Bytes::new(), if_match: None }
    }

    /// Fills the next parameter of the path.
    pub fn at(mut self, value: &impl ToString) -> Self {
        self.segments.push(value.to_string());
        self
    }

    /// Adds a query parameter.
    pub fn query(mut self, name: &'static str, value: impl ToString) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    /// Names the services that the call is limited to, as query parameters.
    pub fn services(self, services: &[ServiceName]) -> Self {
        services.iter().fold(self, |call, service| call.query("service", service))
    }

    /// Gives it a body.
    ///
    /// # Errors
    ///
    /// If the body has no form in JSON.
    pub fn body(mut self, body: &impl Serialize) -> Result<Self, Trouble> {
        self.body = serde_json::to_vec(body).map_err(io::Error::other)?.into();
        Ok(self)
    }

    /// Sets the terms of a command.
    pub fn on(mut self, terms: &Terms) -> Self {
        if terms.dry_run {
            self = self.query("dry_run", true);
        }
        if let Some(reason) = &terms.reason {
            self = self.query("reason", reason);
        }
        self.if_match = terms.if_revision;
        self
    }

    /// The path with its query, encoded.
    fn target(&self) -> String {
        let mut values = self.segments.iter();
        let mut target = String::new();
        for segment in self.op.spec().path.split('/').skip(1) {
            let value = if segment.starts_with('{') { values.next() } else { None };
            let text = value.map_or(segment.to_owned(), |v| encoded(v));
            target.push('/');
            target.push_str(&text);
        }
        for (n, (name, value)) in self.query.iter().enumerate() {
            let mark = if n == 0 { '?' } else { '&' };
            target.push_str(&format!("{mark}{name}={}", encoded(value)));
        }
        target
    }

    /// The call as an HTTP request.
    ///
    /// # Errors
    ///
    /// If a part of it cannot stand in a request.
    pub fn request(&self, accept: &'static str) -> Result<Request<Full<Bytes>>, Trouble> {
        let mut request = Request::builder()
            .method(self.op.spec().method)
            .uri(self.target())
            .header(header::HOST, "lbd")
            .header(header::USER_AGENT, concat!("lbctl/", env!("CARGO_PKG_VERSION")))
            .header(header::ACCEPT, HeaderValue::from_static(accept));
        if self.op.spec().body.is_some() && !self.body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(revision) = self.if_match {
            request = request.header(header::IF_MATCH, revision.0);
        }
        let request = request.body(Full::new(self.body.clone()));
        Ok(request.map_err(io::Error::other)?)
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_encoded() {
        let pool: crate::model::PoolName = "green".parse().unwrap();
        let call = Call::new(Op::SetEndpoint).at(&pool).at(&"unix:/run/a b.sock");
        let terms = Terms { dry_run: true, reason: Some("a&b=ü".into()), if_revision: None };
        assert_eq!(
            call.on(&terms).target(),
            "/v1/pools/green/endpoints/unix%3A%2Frun%2Fa%20b.sock?dry_run=true\
             &reason=a%26b%3D%C3%BC"
        );
    }

    #[test]
    fn the_table_of_operations_finds_what_the_client_calls() {
        for op in Op::ALL {
            let call = Call::new(*op).at(&"green").at(&"[::1]:80");
            let target = call.target();
            let found = Op::find(op.spec().method, &target).unwrap();
            assert_eq!(found.0, *op);
        }
    }
}
