//! Numbers where none belongs: in names, parameters and headers of a URI, however they are spelled.

/// Parameters, less those that may hold a number.
pub(super) fn write_params(params: &[u8], out: &mut Vec<u8>) {
    // A quoted value may hold a semicolon: it is not cut.
    if params.contains(&b'"') && holds_number(params) {
        return;
    }
    for param in params.split(|c| *c == b';').filter(|param| !param.trim_ascii().is_empty()) {
        if !holds_number(param) {
            out.push(b';');
            out.extend_from_slice(param);
        }
    }
}

/// Seven digits on end are a number; the octets of an address are not.
pub(super) fn has_long_run(text: &[u8]) -> bool {
    text.split(|c| !c.is_ascii_digit()).any(|run| run.len() >= 7)
}

/// A display name with five digits and more in it may be a number, and a number that is not ours must not pass. Digits
/// of other scripts count.
pub(super) fn holds_number(display: &[u8]) -> bool {
    let ascii = || display.iter().filter(|c| c.is_ascii_digit()).count();
    let any = || String::from_utf8_lossy(display).chars().filter(|c| c.is_numeric()).count();
    let digits = if display.is_ascii() { ascii() } else { any() };
    digits >= 5
}

/// What follows a URI's user part may spell a number with separators and escapes; the host's own digits do not count.
pub(super) fn hides_number(tail: &[u8], host: &[u8]) -> bool {
    let after = tail.windows(host.len().max(1)).position(|window| window == host).map_or(0, |at| at + host.len());
    let text = tail.get(after..).unwrap_or_default();
    text.split(|c| matches!(c, b';' | b'&' | b'?' | b'>')).any(|part| holds_number(&unescaped(part)))
}

/// A part of a URI with its `%`-escapes resolved.
fn unescaped(part: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(part.len());
    let mut rest = part;
    while let Some((first, after)) = rest.split_first() {
        let hex =
            |at: usize| after.get(at).and_then(|c| char::from(*c).to_digit(16)).and_then(|d| u8::try_from(d).ok());
        let escaped = (*first == b'%').then(|| Some(hex(0)? * 16 + hex(1)?)).flatten();
        out.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    out
}

/// True when a URI's headers name this one, in any case.
pub(super) fn has_name(element: &[u8], name: &[u8]) -> bool {
    let headers = element.iter().position(|c| *c == b'?').and_then(|at| element.get(at + 1..)).unwrap_or_default();
    let mut fields = headers.split(|c| *c == b'&');
    fields.any(|field| field.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)))
}
