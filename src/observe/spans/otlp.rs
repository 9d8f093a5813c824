//! The form that collectors read: OTLP in protobuf.

use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span as Sent, SpanFlags, Status, span, status},
};
use prost::Message;

use super::{Kind, Parent, Span, Value};

/// The version of the semantic conventions that attributes are named by.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.37.0";

/// Who makes the spans.
#[derive(Debug)]
pub struct Origin {
    resource: Resource,
    scope: InstrumentationScope,
}

impl Origin {
    /// This process, by the name of its service.
    pub fn new(service: &str) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let instance = format!("{:032x}", fastrand::u128(..));
        let attributes = [
            ("service.name", service),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("service.instance.id", &instance),
            ("host.name", host.trim()),
        ];
        let known = attributes.into_iter().filter(|(_, value)| !value.is_empty());
        let attributes = known.map(|(name, value)| pair(name, &Value::text(value))).collect();
        let (name, version) = ("lbd".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        Self {
            resource: Resource { attributes, ..Resource::default() },
            scope: InstrumentationScope { name, version, ..InstrumentationScope::default() },
        }
    }

    /// The body of a request that brings these spans.
    pub fn body(&self, spans: impl Iterator<Item = Span>) -> Vec<u8> {
        let scope_spans = ScopeSpans {
            scope: Some(self.scope.clone()),
            spans: spans.map(sent).collect(),
            schema_url: SCHEMA.to_owned(),
        };
        let resource_spans = ResourceSpans {
            resource: Some(self.resource.clone()),
            scope_spans: vec![scope_spans],
            schema_url: SCHEMA.to_owned(),
        };
        ExportTraceServiceRequest { resource_spans: vec![resource_spans] }.encode_to_vec()
    }
}

/// The part of a batch that a collector did not take.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refused {
    /// How many spans.
    pub count: usize,
    /// Why, in the collector's words.
    pub why: String,
}

/// What an answer says was not taken, if anything.
pub fn refused(answer: &[u8]) -> Option<Refused> {
    let partial = ExportTraceServiceResponse::decode(answer).ok()?.partial_success?;
    let count = usize::try_from(partial.rejected_spans).ok().filter(|count| *count > 0)?;
    Some(Refused { count, why: partial.error_message })
}

fn sent(span: Span) -> Sent {
    let kind = match span.kind {
        Kind::Server => span::SpanKind::Server,
        Kind::Client => span::SpanKind::Client,
    };
    let (parent, remote) = match span.parent {
        Some(Parent::Remote(id)) => (Some(id), SpanFlags::ContextIsRemoteMask as u32),
        Some(Parent::Here(id)) => (Some(id), 0),
        None => (None, 0),
    };
    let code = if span.is_failed { status::StatusCode::Error } else { status::StatusCode::Unset };
    Sent {
        trace_id: span.trace.to_be_bytes().to_vec(),
        span_id: span.id.to_be_bytes().to_vec(),
        trace_state: span.state.map(String::from).unwrap_or_default(),
        parent_span_id: parent.map(|id| id.to_be_bytes().to_vec()).unwrap_or_default(),
        flags: u32::from(span.flags) | SpanFlags::ContextHasIsRemoteMask as u32 | remote,
        name: span.name.into_owned(),
        kind: kind as i32,
        start_time_unix_nano: span.begun,
        end_time_unix_nano: span.ended,
        attributes: span.attributes.iter().map(|(name, value)| pair(name, value)).collect(),
        status: Some(Status { code: code as i32, message: String::new() }),
        ..Sent::default()
    }
}

fn pair(name: &str, value: &Value) -> KeyValue {
    let value = match value {
        Value::Word(word) => any_value::Value::StringValue((*word).to_owned()),
        Value::Text(text) => any_value::Value::StringValue(text.to_string()),
        Value::Number(number) => any_value::Value::IntValue(*number),
    };
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}
