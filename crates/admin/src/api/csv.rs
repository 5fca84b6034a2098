//! Tables for spreadsheets (RFC 4180).

use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

/// A table with these heads, as a file of this name.
pub(super) fn answer<const N: usize>(
    name: &str,
    heads: &[&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> Response {
    let mut text = line(heads.iter().copied());
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str)));
    }
    let kind = (CONTENT_TYPE, "text/csv; charset=utf-8; header=present".to_owned());
    ([kind, (CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\""))], text).into_response()
}

fn line<'c>(cells: impl Iterator<Item = &'c str>) -> String {
    cells.map(cell).collect::<Vec<String>>().join(",") + "\r\n"
}

/// A spreadsheet takes what begins like a formula for one: such a cell gets an apostrophe first. A number with `+` is a
/// number to it either way.
fn cell(text: &str) -> String {
    let is_number = text.strip_prefix(['+', '-']).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
    let text = match text.starts_with(['=', '+', '-', '@', '\t', '\r']) && !is_number {
        true => format!("'{text}"),
        false => text.to_owned(),
    };
    if text.contains([',', '"', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_no_formula_leaves() {
        let cells = ["plain", "a,b", "he said \"no\"", "two\r\nlines", "=1+1", "+918065978002", "-1", "@x", ""];
        let expected = "plain,\"a,b\",\"he said \"\"no\"\"\",\"two\r\nlines\",'=1+1,+918065978002,-1,'@x,\r\n";
        assert_eq!(line(cells.into_iter()), expected);
    }
}
