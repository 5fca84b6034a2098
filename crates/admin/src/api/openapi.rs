//! The OpenAPI 3.1 document: `GET /openapi.json`. Types come from the code that reads and writes them; what a path is for,
//! what it takes and how it answers stands in one table ([`operations`]), which tests hold to the routes.

mod operations;

use std::sync::LazyLock;

use axum::Json;
use axum::routing::get;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::routes::Routes;
use crate::access::{Caller, Role};
use crate::problem::Problem;
use operations::OPERATIONS;

/// Makes the schema of a type, and puts it among the named ones.
type Make = fn(&mut SchemaGenerator) -> Schema;

/// One method of one path.
#[derive(Clone, Copy)]
struct Operation {
    method: &'static str,
    path: &'static str,
    /// What it takes; `None` for everybody.
    role: Option<Role>,
    summary: &'static str,
    /// What stands behind `?`.
    question: Option<Make>,
    body: Body,
    /// Whether `If-Match` names what was looked at.
    has_version: bool,
    status: u16,
    answer: Answer,
    /// Its problems beside those that every operation has.
    problems: &'static [u16],
}

/// What a request carries.
#[derive(Clone, Copy)]
enum Body {
    None,
    Json(Make),
    /// A table for spreadsheets.
    Table,
}

/// What is answered.
#[derive(Clone, Copy)]
enum Answer {
    None,
    Json(Make),
    /// The same, or a table for spreadsheets.
    JsonOrTable(Make),
    /// Something else of this media type.
    Other(&'static str),
}

/// The problems that any request may end with: those of the listener and of questions that cannot be.
const PROBLEMS: [u16; 7] = [400, 401, 403, 408, 421, 429, 500];

static DOCUMENT: LazyLock<Value> = LazyLock::new(document);

pub(super) fn router() -> Routes {
    Routes::new().route("/openapi.json", get(show))
}

async fn show(caller: Caller) -> Result<Json<&'static Value>, Problem> {
    caller.may(Role::Viewer)?;
    Ok(Json(&DOCUMENT))
}

/// The schema of a type; a named one is referred to.
fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let problem = of::<Problem>(&mut generator);
    let mut paths: Map<String, Value> = Map::new();
    for operation in OPERATIONS {
        let described = operation.described(&mut generator, &problem);
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        if let Some(methods) = path.as_object_mut() {
            methods.insert(operation.method.to_owned(), described);
        }
    }
    let mut schemas = generator.take_definitions(true);
    // Questions stand as parameters, one by one.
    schemas.retain(|name, _| !name.ends_with("Question") && name != "Reason");
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Switchyard",
            "description": "See every DID, move it, know that it is live.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/api/v1" }],
        "security": [{ "token": [] }, { "session": [] }, { "access": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "A person's token." },
                "session": {
                    "type": "apiKey", "in": "cookie", "name": "switchyard",
                    "description": "A browser's session; writes say X-Csrf-Token beside it.",
                },
                "access": {
                    "type": "apiKey", "in": "header", "name": "Cf-Access-Jwt-Assertion",
                    "description": "What Cloudflare Access says of somebody; writes say X-Csrf-Token beside it.",
                },
            },
        },
    })
}

impl Operation {
    fn described(&self, generator: &mut SchemaGenerator, problem: &Schema) -> Value {
        let problem = json!({
            "description": "Why not",
            "content": { "application/problem+json": { "schema": problem } },
        });
        let mut responses = Map::from_iter([(self.status.to_string(), self.answer.described(generator))]);
        for status in PROBLEMS.iter().chain(self.problems) {
            responses.insert(status.to_string(), problem.clone());
        }
        let mut described = json!({
            "summary": self.summary,
            "operationId": self.id(),
            "tags": [self.path.split('/').nth(1).unwrap_or_default()],
            "parameters": self.parameters(generator),
            "responses": responses,
        });
        let body = self.body.described(generator).map(|body| ("requestBody", body));
        let (name, who) = match self.role {
            Some(role) => ("description", json!(format!("Takes the role {role}."))),
            None => ("security", json!([])),
        };
        if let Some(fields) = described.as_object_mut() {
            fields.extend(body.into_iter().chain([(name, who)]).map(|(name, value)| (name.to_owned(), value)));
        }
        described
    }

    /// `put_dids_number_environment`
    fn id(&self) -> String {
        let words = self.path.split(['/', '{', '}', '.']).filter(|word| !word.is_empty());
        std::iter::once(self.method).chain(words).collect::<Vec<&str>>().join("_")
    }

    fn parameters(&self, generator: &mut SchemaGenerator) -> Vec<Value> {
        let parts = self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let mut parameters: Vec<Value> = parts
            .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
            .collect();
        if self.has_version {
            parameters.push(json!({
                "name": "If-Match", "in": "header", "required": true, "schema": { "type": "string" },
                "description": "The version that was looked at, in quotes, or * for any.",
            }));
        }
        let Some(make) = self.question else { return parameters };
        let named = make(generator);
        let path = named.get("$ref").and_then(Value::as_str).unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        let question = generator.definitions().get(name).cloned().unwrap_or_default();
        let required: Vec<&str> = match question.get("required").and_then(Value::as_array) {
            Some(names) => names.iter().filter_map(Value::as_str).collect(),
            None => Vec::new(),
        };
        for (name, schema) in question.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let is_required = required.contains(&name.as_str());
            parameters.push(json!({ "name": name, "in": "query", "required": is_required, "schema": spoken(schema) }));
        }
        parameters
    }
}

/// A field's schema as that of a parameter, which is there or not, and never null.
fn spoken(schema: &Value) -> Value {
    let mut schema = schema.clone();
    let Some(fields) = schema.as_object_mut() else { return schema };
    fields.remove("default");
    if let Some(Value::Array(kinds)) = fields.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [kind] = &kinds[..] {
            let kind = kind.clone();
            fields.insert("type".to_owned(), kind);
        }
    }
    if let Some(Value::Array(choices)) = fields.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
    }
    schema
}

impl Body {
    fn described(self, generator: &mut SchemaGenerator) -> Option<Value> {
        let content = match self {
            Body::None => return None,
            Body::Json(make) => json!({ "application/json": { "schema": make(generator) } }),
            Body::Table => json!({ "text/csv": { "schema": { "type": "string" } } }),
        };
        Some(json!({ "required": true, "content": content }))
    }
}

impl Answer {
    fn described(self, generator: &mut SchemaGenerator) -> Value {
        let text = json!({ "schema": { "type": "string" } });
        let content = match self {
            Answer::None => return json!({ "description": "Done" }),
            Answer::Json(make) => json!({ "application/json": { "schema": make(generator) } }),
            Answer::JsonOrTable(make) => {
                json!({ "application/json": { "schema": make(generator) }, "text/csv": text })
            }
            Answer::Other(kind) => json!({ kind: text }),
        };
        json!({ "description": "Done", "content": content })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_to_a_type() {
        let text = DOCUMENT.to_string();
        let schemas = DOCUMENT["components"]["schemas"].as_object().unwrap();
        let references: Vec<&str> =
            text.split("\"$ref\":\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        assert!(references.len() > 40);
        for reference in references {
            let name = reference.strip_prefix("#/components/schemas/").unwrap();
            assert!(schemas.contains_key(name), "{reference}");
        }
    }

    #[test]
    fn questions_are_parameters_and_versions_are_headers() {
        let parameters = DOCUMENT["paths"]["/dids"]["get"]["parameters"].as_array().unwrap();
        let search = parameters.iter().find(|one| one["name"] == "search").unwrap();
        assert_eq!((&search["in"], &search["required"]), (&json!("query"), &json!(false)));
        assert_eq!(search["schema"]["type"], "string");
        let change = &DOCUMENT["paths"]["/dids/{number}/environment"]["put"];
        assert_eq!(change["parameters"][1]["name"], "If-Match");
        assert_eq!(change["operationId"], "put_dids_number_environment");
        assert!(change["responses"]["428"].is_object() && change["requestBody"].is_object());
        let ended = &DOCUMENT["paths"]["/leases/{id}"]["delete"]["parameters"];
        assert!(ended.as_array().unwrap().iter().any(|one| one["name"] == "reason" && one["required"] == true));
    }
}
