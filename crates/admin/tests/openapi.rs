//! The OpenAPI document says what the routes do, no more and no less.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the lint's leave for tests does not reach the functions they share"
)]

mod house;
mod stage;

use admin::{AuthSettings, Role};
use house::{House, settings};
use serde_json::Value;
use std::collections::BTreeSet;

/// `(path, method)`, in small letters.
type Operations = BTreeSet<(String, String)>;

async fn document(house: &House, token: &str) -> Value {
    let answer = house.ask("GET", "/api/v1/openapi.json", &[token], "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn described(document: &Value) -> Operations {
    let paths = document["paths"].as_object().unwrap();
    let pairs =
        paths.iter().flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(move |method| (path, method)));
    pairs.map(|(path, method)| (path.clone(), method.clone())).collect()
}

/// What the routes themselves answer to a method that none of them has: `Allow` lists those that they have.
async fn routed(house: &House, token: &str) -> Operations {
    let mut found = Operations::new();
    for path in admin::api::paths() {
        let asked = path.replace(['{', '}'], "");
        let answer = house.ask("PATCH", &format!("/api/v1{asked}"), &[token], "").await;
        assert_eq!(answer.status, 405, "{path}: {answer:?}");
        let allowed = answer.header("Allow").unwrap_or_else(|| panic!("{path}: no Allow in {answer:?}"));
        let methods = allowed.split(',').map(|method| method.trim().to_lowercase());
        // Whatever answers GET answers HEAD.
        found.extend(methods.filter(|method| method != "head").map(|method| (path.to_owned(), method)));
    }
    found
}

#[tokio::test]
async fn every_route_is_described_and_nothing_else_is() {
    let house = House::open(settings()).await;
    let token = house.bearer("asha", Role::Admin);
    let (described, routed) = (described(&document(&house, &token).await), routed(&house, &token).await);
    let missing: Vec<_> = routed.difference(&described).collect();
    assert!(missing.is_empty(), "routes that the document lacks: {missing:?}");
    let invented: Vec<_> = described.difference(&routed).collect();
    assert!(invented.is_empty(), "operations that no route has: {invented:?}");
    assert!(described.len() > 40, "{described:?}");
}

#[tokio::test]
async fn the_document_is_for_whoever_is_known() {
    let house = House::open(settings()).await;
    assert_eq!(house.ask("GET", "/api/v1/openapi.json", &[], "").await.status, 401);
    let viewer = house.bearer("ravi", Role::Viewer);
    let document = document(&house, &viewer).await;
    assert_eq!(
        (&document["openapi"], &document["servers"][0]["url"]),
        (&Value::from("3.1.0"), &Value::from("/api/v1"))
    );
}

/// Every operation but the login is for somebody: with nothing, and with what is wrong, there is no answer.
#[tokio::test]
async fn no_operation_but_the_login_is_for_whoever_is_not_known() {
    let client_header = Some("x-forwarded-for".to_owned());
    let house = House::open(AuthSettings { client_header, ..settings() }).await;
    let document = document(&house, &house.bearer("ravi", Role::Viewer)).await;
    let operations = described(&document);
    for (number, (path, method)) in operations.iter().enumerate() {
        let is_login = document["paths"][path][method]["security"] == serde_json::json!([]);
        assert_eq!(is_login, (path.as_str(), method.as_str()) == ("/session", "post"));
        if is_login {
            continue;
        }
        // Each from somewhere else: failed logins of one client are limited.
        let from = format!("X-Forwarded-For: 192.0.2.{number}");
        let asked = format!("/api/v1{}", path.replace(['{', '}'], ""));
        for shown in ["X-Nothing: 1", "Authorization: Bearer swy_wrong", "Cookie: switchyard=wrong"] {
            let answer = house.ask(&method.to_uppercase(), &asked, &[&from, shown], "").await;
            assert_eq!(answer.status, 401, "{method} {path} with {shown}: {answer:?}");
        }
    }
    assert!(operations.len() > 40, "{operations:?}");
}

/// Each role that the document says is the one that is needed: the role below is refused, whatever else is wrong.
#[tokio::test]
async fn the_roles_of_the_document_are_those_of_the_routes() {
    let house = House::open(settings()).await;
    let admin = house.bearer("asha", Role::Admin);
    let document = document(&house, &admin).await;
    let viewer = house.bearer("ravi", Role::Viewer);
    let operator = house.bearer("meera", Role::Operator);
    let mut refused = 0;
    for (path, method) in described(&document) {
        let operation = &document["paths"][&path][&method];
        let told = operation["description"].as_str().unwrap_or_default();
        let below = match told {
            "Takes the role operator." => &viewer,
            "Takes the role admin." => &operator,
            _ => continue,
        };
        let question = operation["parameters"].as_array().unwrap().iter();
        let question = question.filter(|one| one["in"] == "query" && one["required"] == true);
        let question: Vec<String> = question.map(|one| format!("{}=oss", one["name"].as_str().unwrap())).collect();
        let asked = format!("/api/v1{}?{}", path.replace(['{', '}'], ""), question.join("&"));
        let (kind, body) = match operation["requestBody"]["content"]["text/csv"].is_object() {
            true => ("Content-Type: text/csv", "number,row_environment\n".to_owned()),
            false => ("Content-Type: application/json", body_of(&path).to_owned()),
        };
        let body = if operation["requestBody"].is_object() { body } else { String::new() };
        let answer = house.ask(&method.to_uppercase(), &asked, &[below, kind, "If-Match: *"], &body).await;
        assert_eq!(answer.status, 403, "{method} {path}: {answer:?}");
        refused += 1;
    }
    assert!(refused >= 18, "{refused}");
}

/// A body that can be read; whether it makes sense is asked after the role.
fn body_of(path: &str) -> &'static str {
    match path {
        "/dids/{number}/environment" => r#"{"environment":"oss","reason":"x"}"#,
        "/testers" => r#"{"caller":"+447700900001","did":"08065978002","environment":"oss","for_s":60,"reason":"x"}"#,
        "/peers/{peer}" => r#"{"admin":"drain","reason":"x"}"#,
        "/tokens" => r#"{"who":"x","role":"viewer","reason":"x"}"#,
        "/log" => r#"{"level":"info"}"#,
        "/log/watches" => r#"{"number":"08065978002","for_s":60}"#,
        "/capture" => r#"{"is_on":false}"#,
        _ => r#"{"reason":"x"}"#,
    }
}

/// docs/reference/api.md has a row for each operation.
#[tokio::test]
async fn the_reference_names_every_operation() {
    let house = House::open(settings()).await;
    let document = document(&house, &house.bearer("ravi", Role::Viewer)).await;
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/api.md");
    let page = std::fs::read_to_string(page).unwrap();
    for (path, method) in described(&document) {
        let named = format!("`{} {path}", method.to_uppercase());
        let is_named = page.match_indices(&named).any(|(at, _)| page[at + named.len()..].starts_with(['`', '?']));
        assert!(is_named, "docs/reference/api.md does not name {named}`");
    }
}
