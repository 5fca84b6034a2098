//! What may stand in a text's values: `*`, `{captures}` and escapes.

use std::collections::BTreeMap;

/// What `{name}` stood for so far.
pub(crate) type Captures = BTreeMap<String, String>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Char(char),
    Anything,
    Capture(String),
}

/// The text with escapes resolved and captures filled in: what is sent.
pub(crate) fn expand(text: &str, captures: &Captures) -> Result<String, String> {
    let mut out = String::new();
    for piece in pieces(text)? {
        match piece {
            Piece::Char(c) => out.push(c),
            Piece::Anything => out.push('*'),
            Piece::Capture(name) => {
                out.push_str(captures.get(&name).ok_or_else(|| format!("{{{name}}} has not been seen yet"))?);
            }
        }
    }
    Ok(out)
}

/// True when the whole of `found` reads as `pattern`; captures that are new are kept then.
pub(crate) fn matches(pattern: &str, found: &str, captures: &mut Captures) -> Result<bool, String> {
    let pieces = pieces(pattern)?;
    let found: Vec<char> = found.chars().collect();
    let mut seen = captures.clone();
    let matched = match_from(&pieces, &found, &mut seen);
    if matched {
        *captures = seen;
    }
    Ok(matched)
}

fn match_from(pieces: &[Piece], found: &[char], seen: &mut Captures) -> bool {
    let Some((piece, rest)) = pieces.split_first() else { return found.is_empty() };
    match piece {
        Piece::Char(c) => found.split_first().is_some_and(|(f, tail)| f == c && match_from(rest, tail, seen)),
        Piece::Anything => (0..=found.len()).any(|n| found.get(n..).is_some_and(|tail| match_from(rest, tail, seen))),
        Piece::Capture(name) => match seen.get(name).cloned() {
            Some(known) => {
                let known: Vec<char> = known.chars().collect();
                found.strip_prefix(known.as_slice()).is_some_and(|tail| match_from(rest, tail, seen))
            }
            None => capture(name, rest, found, seen),
        },
    }
}

/// A new capture takes one or more characters, as few as will do, and stops at what ends a SIP token.
fn capture(name: &str, rest: &[Piece], found: &[char], seen: &mut Captures) -> bool {
    let longest = found.iter().take_while(|c| !matches!(c, ' ' | ',' | ';' | '<' | '>' | '"' | '@')).count();
    for n in 1..=longest {
        let Some((taken, tail)) = found.split_at_checked(n) else { return false };
        let mut tried = seen.clone();
        tried.insert(name.into(), taken.iter().collect());
        if match_from(rest, tail, &mut tried) {
            *seen = tried;
            return true;
        }
    }
    false
}

fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut out = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => Piece::Char(escape(&mut chars)?),
            '*' => Piece::Anything,
            '{' => {
                let name: String = chars.by_ref().take_while(|c| *c != '}').collect();
                Piece::Capture(name)
            }
            c => Piece::Char(c),
        });
    }
    Ok(out)
}

fn escape(chars: &mut std::str::Chars<'_>) -> Result<char, String> {
    match chars.next() {
        Some('r') => Ok('\r'),
        Some('n') => Ok('\n'),
        Some('t') => Ok('\t'),
        Some('0') => Ok('\0'),
        Some('x') => {
            let hex: String = chars.by_ref().take(2).collect();
            let byte = u8::from_str_radix(&hex, 16).map_err(|_| format!("found \\x{hex}, expected two hex digits"))?;
            Ok(char::from(byte))
        }
        Some(c) if c.is_ascii_punctuation() => Ok(c),
        other => Err(format!("found \\ before {other:?}, expected one of r n t 0 xHH or a sign such as \\* \\{{ \\\\")),
    }
}
