//! Texts that may be a URI, an address or a telephone number.

use sip::{Form, NameAddr, Number, Numbering, Uri};

use crate::datagram::{visit_address, visit_uri};

/// Reads `data` as each of them.
pub fn run(data: &[u8]) {
    match Uri::parse(data) {
        Ok(uri) => {
            visit_uri(&uri);
            number(uri.user_bytes().unwrap_or_default());
            in_brackets(&uri);
        }
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
    match NameAddr::parse(data) {
        Ok(address) => visit_address(&address),
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
    number(data);
}

/// A URI that can be read stands in brackets without breaking them.
fn in_brackets(uri: &Uri<'_>) {
    let text = [b"\"a, <b>\" <", uri.bytes, b">;tag=1"].concat();
    let address = NameAddr::parse(&text).expect("a URI in brackets is an address");
    assert_eq!(address.uri_bytes(), uri.bytes);
    assert_eq!(address.tag_bytes(), Some(&b"1"[..]));
}

fn number(raw: &[u8]) {
    for numbering in [Numbering::default(), Numbering::new("1", "", 10).expect("a numbering")] {
        match numbering.canonical(raw) {
            Ok(number) => spellings(&numbering, number),
            Err(fault) => assert!(!fault.to_string().is_empty() && !fault.name().is_empty()),
        }
        if let Ok(number) = numbering.canonical_user(raw) {
            spellings(&numbering, number);
        }
    }
}

/// Every form is read back as the same number, but that E.164 without `+` may look like a national number.
fn spellings(numbering: &Numbering, number: Number) {
    assert_eq!(Number::from_digits(number.digits()), Some(number));
    for form in [Form::PlusE164, Form::ZeroZeroE164, Form::National, Form::E164] {
        let mut text = Vec::new();
        numbering.write(number, form, &mut text);
        assert!(text.ends_with(b"0") || text.last().is_some_and(u8::is_ascii_digit));
        if form != Form::E164 {
            assert_eq!(numbering.canonical(&text), Ok(number), "{}", text.escape_ascii());
            assert_eq!(numbering.canonical_user(&text), Ok(number));
        }
    }
}
