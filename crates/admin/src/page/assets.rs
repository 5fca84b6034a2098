//! The style and the script, under names that change with their content: a browser keeps them for ever.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

const STYLE: &str = include_str!("../../assets/page.css");
const SCRIPT: &str = include_str!("../../assets/page.js");

static STYLE_NAME: LazyLock<String> = LazyLock::new(|| format!("page-{}.css", mark(STYLE)));
static SCRIPT_NAME: LazyLock<String> = LazyLock::new(|| format!("page-{}.js", mark(SCRIPT)));

pub(super) fn style_name() -> &'static str {
    &STYLE_NAME
}

pub(super) fn script_name() -> &'static str {
    &SCRIPT_NAME
}

pub(super) async fn asset(Path(name): Path<String>) -> Response {
    let (kind, text) = match name.as_str() {
        name if name == style_name() => ("text/css; charset=utf-8", STYLE),
        name if name == script_name() => ("text/javascript; charset=utf-8", SCRIPT),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")], text)
        .into_response()
}

/// Tells one content from another; no secret and no proof.
fn mark(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
