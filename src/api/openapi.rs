//! The OpenAPI document, made from the table of operations.

use schemars::{Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    operation::{Op, Reply, Role, Spec},
    types::Failure,
};
use crate::model::units::NAME_PATTERN;

/// A revision in If-Match: as its number, or as the tag in quotes that HTTP knows.
const REVISION_PATTERN: &str = "^([0-9]{1,19}|\"[0-9]{1,19}\")$";

/// The OpenAPI 3.1 document of the admin API.
pub fn document() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|s| s.definitions_path = "/components/schemas".into());
    let mut schemas = settings.into_generator();
    let mut paths = Map::new();
    for op in Op::ALL {
        let spec = op.spec();
        let item = paths.entry(spec.path).or_insert_with(|| json!({}));
        if let Some(item) = item.as_object_mut() {
            item.insert(spec.method.to_lowercase(), operation(*op, &spec, &mut schemas));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "lbd admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "http://lbd", "description": "through the admin socket" }],
        "paths": paths,
        "components": { "schemas": schemas.take_definitions(true) },
    })
}

fn operation(op: Op, spec: &Spec, schemas: &mut SchemaGenerator) -> Value {
    let failure = schemas.subschema_for::<Failure>();
    let content = match spec.reply {
        Reply::Json(schema) => json!({ "application/json": { "schema": schema(schemas) } }),
        Reply::Text(media) => json!({ media: {} }),
    };
    let mut operation = json!({
        "operationId": format!("{op:?}"),
        "summary": spec.summary,
        "description": format!("For {}.", who(spec.role)),
        "parameters": parameters(spec),
        "responses": {
            "200": { "description": "done", "content": content },
            "default": {
                "description": "refused or failed; nothing was changed",
                "content": { "application/json": { "schema": failure } },
            },
        },
    });
    if let (Some(body), Some(operation)) = (spec.body, operation.as_object_mut()) {
        let schema = body(schemas);
        let content = json!({ "application/json": { "schema": schema } });
        let body = json!({ "required": has_required(&schema, schemas), "content": content });
        operation.insert("requestBody".into(), body);
    }
    operation
}

/// Whether a body must be there: one without anything that must be in it may be left out.
fn has_required(schema: &Schema, schemas: &SchemaGenerator) -> bool {
    let name = schema.get("$ref").and_then(|path| path.as_str()?.rsplit('/').next());
    name.and_then(|name| schemas.definitions().get(name)?.get("required")).is_some()
}

fn parameters(spec: &Spec) -> Vec<Value> {
    let in_path = spec.path.split('/').filter_map(|s| s.strip_prefix('{')?.strip_suffix('}'));
    let mut list: Vec<Value> = in_path
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": form(name) }))
        .collect();
    for (name, description) in spec.query {
        let schema = form(name);
        list.push(
            json!({ "name": name, "in": "query", "description": description, "schema": schema }),
        );
    }
    if spec.role == Role::Operator {
        let description = "refuse unless this revision is in force";
        let schema = form("If-Match");
        list.push(json!({ "name": "If-Match", "in": "header", "description": description, "schema": schema }));
    }
    list
}

/// What a parameter's value looks like.
fn form(parameter: &str) -> Value {
    match parameter {
        "pool" | "service" | "name" => json!({ "type": "string", "pattern": NAME_PATTERN }),
        "dry_run" => json!({ "type": "string", "enum": ["true", "false", "1", "0"] }),
        "since" | "limit" => json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX }),
        "If-Match" => json!({ "type": "string", "pattern": REVISION_PATTERN }),
        "format" => json!({ "type": "string", "enum": ["md", "json", "html"] }),
        _ => json!({ "type": "string" }),
    }
}

const fn who(role: Role) -> &'static str {
    match role {
        Role::Anyone => "anyone",
        Role::Viewer => "viewers and operators",
        Role::Operator => "operators",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_to_a_schema() {
        let document = document();
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"").skip(1) {
            let pointer = reference.split('"').next().unwrap().trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }

    #[test]
    fn a_body_is_required_where_something_must_be_in_it() {
        let required = |path: &str, method: &str| {
            document()["paths"][path][method]["requestBody"]["required"].as_bool()
        };
        assert_eq!(required("/v1/split", "put"), Some(true));
        assert_eq!(required("/v1/rollback", "post"), Some(false));
        assert_eq!(required("/v1/status", "get"), None);
    }

    #[test]
    fn every_operation_is_in_the_document() {
        let document = document();
        for op in Op::ALL {
            let spec = op.spec();
            assert!(document["paths"][spec.path][spec.method.to_lowercase()].is_object(), "{op:?}");
        }
    }
}
