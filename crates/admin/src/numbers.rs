//! Numbers shown in part: to viewers, where the configuration says so.

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use serde_json::Value;

use crate::access::Numbers;
use crate::problem::{Kind, Problem};

/// Digits of which a number has at least as many; a shorter run is something else.
const DIGITS_MIN: usize = 7;
/// Digits at its end that are left out.
const LEFT_OUT: usize = 2;

impl Numbers {
    /// `text` as it is shown: with [`Numbers::Part`] the last two digits of every number in it are stars, whatever
    /// way it is spelled: `+918065978002` becomes `+9180659780**`.
    pub fn shown(self, text: &str) -> String {
        match self {
            Numbers::Whole => text.to_owned(),
            Numbers::Part => masked(text),
        }
    }
}

/// Times and ids, which have runs of digits and are no numbers: `d` is a digit, `x` one of base 16, and all else itself.
const FORMS: [&str; 4] = ["xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", "dddd-dd-ddTdd:dd", "dddd-dd-dd dd:dd", "dddd-dd-dd"];

/// A run of digits, with single spaces, dashes or brackets between them, is a number.
fn masked(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let mut is_inside = false;
    while let Some(letter) = letters.get(at) {
        if let Some(end) = end_of_form(&letters, at).filter(|_| !is_inside) {
            out.extend(letters.get(at..end).unwrap_or_default());
            (at, is_inside) = (end, true);
            continue;
        }
        is_inside = letter.is_ascii_alphanumeric() || *letter == '+';
        if !letter.is_ascii_digit() {
            out.push(*letter);
            at += 1;
            continue;
        }
        let end = end_of_number(&letters, at);
        let number = letters.get(at..end).unwrap_or_default();
        let digits = number.iter().filter(|letter| letter.is_ascii_digit()).count();
        let mut place = 0;
        for letter in number {
            let is_digit = letter.is_ascii_digit();
            let is_shown = digits < DIGITS_MIN || place + LEFT_OUT < digits;
            out.push(if is_digit && !is_shown { '*' } else { *letter });
            place += usize::from(is_digit);
        }
        at = end;
    }
    out
}

/// Behind the time or id that begins at `at`, if one stands there whole.
fn end_of_form(letters: &[char], at: usize) -> Option<usize> {
    FORMS.into_iter().find_map(|form| {
        let is_form = form.chars().zip(0..).all(|(wanted, place)| {
            letters.get(at + place).is_some_and(|letter| match wanted {
                'd' => letter.is_ascii_digit(),
                'x' => letter.is_ascii_hexdigit(),
                wanted => *letter == wanted,
            })
        });
        let end = at + form.len();
        let ends = letters.get(end).is_none_or(|letter| !letter.is_ascii_alphanumeric() && *letter != '-');
        (is_form && ends).then_some(end)
    })
}

/// Behind the last digit of the number that begins at `at`.
fn end_of_number(letters: &[char], at: usize) -> usize {
    let mut end = at;
    let mut between = 0;
    for (place, letter) in letters.iter().enumerate().skip(at) {
        match letter {
            letter if letter.is_ascii_digit() => (end, between) = (place + 1, 0),
            ' ' | '-' | '(' | ')' if between == 0 => between = 1,
            _ => break,
        }
    }
    end
}

/// An answer of the API, with every number in its texts shown in part. Pages and pictures do it where they are made:
/// their coordinates are no numbers.
pub(crate) async fn in_part(response: Response) -> Response {
    let content = response.headers().get(CONTENT_TYPE).and_then(|content| content.to_str().ok()).unwrap_or_default();
    let kind = content.split(';').next().unwrap_or_default().trim();
    let is_json = kind.ends_with("json");
    let is_stream = matches!(kind, "text/event-stream" | "text/csv");
    if !is_json && !is_stream && kind != "text/plain" {
        return response;
    }
    let (mut head, body) = response.into_parts();
    head.headers.remove(CONTENT_LENGTH);
    if is_stream {
        // A frame is a whole event, or whole rows.
        let body = body.map_frame(|frame| frame.map_data(|data| masked(&String::from_utf8_lossy(&data)).into()));
        return Response::from_parts(head, Body::new(body));
    }
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(fault) => return Problem::new(Kind::Internal, fault.to_string()).into_response(),
    };
    let body = match serde_json::from_slice::<Value>(&body) {
        Ok(mut value) if is_json => {
            mask(&mut value);
            Body::from(value.to_string())
        }
        _ => Body::from(masked(&String::from_utf8_lossy(&body))),
    };
    Response::from_parts(head, body)
}

fn mask(value: &mut Value) {
    match value {
        Value::String(text) => *text = masked(text),
        Value::Array(list) => list.iter_mut().for_each(mask),
        Value::Object(fields) => fields.iter_mut().filter(|(name, _)| !is_id(name)).for_each(|(_, value)| mask(value)),
        _ => {}
    }
}

/// Ids are no numbers, though they have runs of digits.
fn is_id(name: &str) -> bool {
    matches!(name, "id" | "key" | "next")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Json;

    #[test]
    fn the_end_of_a_number_is_left_out_in_every_spelling() {
        for (whole, part) in [
            ("+918065978002", "+9180659780**"),
            ("08065978002", "080659780**"),
            ("+91 80-6597 8002", "+91 80-6597 80**"),
            ("call of +447700900001 to +918065978002", "call of +4477009000** to +9180659780**"),
            ("generation 812, 14 ms", "generation 812, 14 ms"),
            ("10.10.10.200:5060", "10.10.10.200:5060"),
            (
                "2026-03-01T09:15:42Z,2026-03-01 09:15:42,2026-03-01,+918065978002",
                "2026-03-01T09:15:42Z,2026-03-01 09:15:42,2026-03-01,+9180659780**",
            ),
            ("00000000-0000-4000-8000-918065978002,08065978002", "00000000-0000-4000-8000-918065978002,080659780**"),
            ("x00000000-0000-4000-8000-918065978002", "x00000000-0000-4000-8000-9180659780**"),
            ("2026-03-018065978002", "2026-03-0180659780**"),
            ("", ""),
        ] {
            assert_eq!(Numbers::Part.shown(whole), part);
            assert_eq!(Numbers::Whole.shown(whole), whole);
        }
    }

    #[tokio::test]
    async fn an_answer_keeps_its_shape_and_its_ids() {
        let answer = Json(serde_json::json!({
            "id": "00000000-0000-4000-8000-918065978002", "next": "1764300000000~42", "dids": [{ "number": "+918065978002", "limit": 9_180_659 }]
        }));
        let masked = in_part(answer.into_response()).await.into_body().collect().await.unwrap().to_bytes();
        let masked: Value = serde_json::from_slice(&masked).unwrap();
        assert_eq!(masked["id"], "00000000-0000-4000-8000-918065978002");
        assert_eq!(masked["next"], "1764300000000~42", "it is asked with as it stands");
        assert_eq!(masked["dids"][0], serde_json::json!({ "number": "+9180659780**", "limit": 9_180_659 }));
    }
}
