use super::*;

fn parsed(text: &str) -> NameAddr<'_> {
    NameAddr::parse(text.as_bytes()).unwrap_or_else(|fault| panic!("{text}: {fault}"))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_quoted_name_an_address_and_parameters() {
    let value = r#""J. \"Rosenberg\", <x>;y" <sip:jr@example.com;lr>;tag=1;x="a;tag=2""#;
    let found = parsed(value);
    assert_eq!(text(found.uri_bytes()), "sip:jr@example.com;lr");
    assert_eq!(found.display_text().unwrap(), &br#"J. "Rosenberg", <x>;y"#[..]);
    assert_eq!(text(found.addr.of(found.bytes)), r#""J. \"Rosenberg\", <x>;y" <sip:jr@example.com;lr>"#);
    assert_eq!(text(found.params.of(found.bytes)), r#";tag=1;x="a;tag=2""#);
    assert_eq!(found.tag_bytes(), Some(&b"1"[..]));
    assert_eq!(found.param("X"), Some(Some(&br#""a;tag=2""#[..])));
    assert!(found.bracketed);
}

#[test]
fn spaces_folds_and_words_in_front_of_the_address() {
    let found = parsed(" Watson  Thomas\r\n <sip:a@b> ; tag\r\n\t= 77 ; lr ;; q=0.5 ");
    assert_eq!(found.display_text().unwrap(), &b"Watson  Thomas"[..]);
    assert_eq!(found.tag_bytes(), Some(&b"77"[..]));
    assert_eq!(found.param("lr"), Some(None));
    assert_eq!(found.param("q"), Some(Some(&b"0.5"[..])));
    assert_eq!(found.params().count(), 3);
    assert_eq!(parsed("<sip:a@b>").display, None);
    assert_eq!(parsed("\"\"<sip:a@b>").display_text().unwrap(), &b""[..]);
    assert_eq!(text(parsed("sip:a@b <sip:c@d>").uri_bytes()), "sip:c@d");
}

/// Row O8, RFC 8217: without brackets every parameter belongs to the header.
#[test]
fn o8_parameters_behind_a_bare_uri_belong_to_the_header() {
    let found = parsed("sip:alice@example.com;transport=tcp;tag=88");
    assert_eq!(text(found.uri_bytes()), "sip:alice@example.com");
    assert_eq!(text(found.params.of(found.bytes)), ";transport=tcp;tag=88");
    assert_eq!((found.tag_bytes(), found.bracketed), (Some(&b"88"[..]), false));
    let found = parsed("sip:alice@example.com?Subject=x;tag=9");
    assert_eq!((text(found.uri_bytes()), found.tag_bytes()), ("sip:alice@example.com?Subject=x", Some(&b"9"[..])));
    assert_eq!(text(parsed("sip:a@b;x=\"<y>\";tag=1").uri_bytes()), "sip:a@b");
    assert_eq!(text(parsed("sip:a@b ;tag=1").uri_bytes()), "sip:a@b");
}

#[test]
fn what_is_no_address_says_why() {
    let cases: [(&str, NameAddrFault); 20] = [
        ("", NameAddrFault::NoUri),
        (" ", NameAddrFault::NoUri),
        ("<>", NameAddrFault::NoUri),
        (";tag=1", NameAddrFault::NoUri),
        ("\"Bob\"", NameAddrFault::NoUri),
        ("\"Mr. J. User <sip:j.user@example.com>", NameAddrFault::OpenQuote),
        ("\"ends in an escape\\\"", NameAddrFault::OpenQuote),
        ("<sip:a@b>;x=\"", NameAddrFault::Trailing),
        ("<sip:a@b", NameAddrFault::OpenBracket),
        ("Bell, Alexander <sip:a.g.bell@bell-tel.com>;tag=43", NameAddrFault::BadDisplay),
        ("\"Bob\" Smith <sip:a@b>", NameAddrFault::BadDisplay),
        ("Bob \"Smith\" <sip:a@b>", NameAddrFault::BadDisplay),
        ("\"Watson, Thomas\" < t.watson@example.org >", NameAddrFault::BadUri),
        ("<sip:a@b\r\n >", NameAddrFault::BadUri),
        ("<<sip:a@b>", NameAddrFault::BadUri),
        ("<sip:a@b> junk;tag=1", NameAddrFault::Trailing),
        ("<sip:a@b>, <sip:c@d>", NameAddrFault::Trailing),
        ("<sip:a@b>;tag=", NameAddrFault::Trailing),
        ("<sip:a@b>;tag", NameAddrFault::EmptyTag),
        ("<sip:a@b>;tag=1;TAG=1", NameAddrFault::TwoTags),
    ];
    for (value, fault) in cases {
        assert_eq!(NameAddr::parse(value.as_bytes()), Err(fault), "{value}");
    }
}

/// Row SX11: display names are bytes.
#[test]
fn sx11_names_in_any_encoding_pass() {
    let found = NameAddr::parse(b"\"\xff\xfe\0\" <sip:a@b>").unwrap();
    assert_eq!(found.display_text().unwrap(), &b"\xff\xfe\0"[..]);
    assert_eq!(NameAddr::parse(b"J\xfcrgen <sip:a@b>").unwrap().display_text().unwrap(), &b"J\xfcrgen"[..]);
}

/// Both ways of reading one say the same.
#[test]
fn what_is_usual_is_read_as_what_is_odd() {
    for uri in
        ["sip:a", "sip:a@10.10.10.1;lr", "", "x", "sip:a b", "sip:a\"", "sip:a>", "<sip:a", "sip:\u{7f}a", "sip:\u{e9}"]
    {
        for before in ["<", " <", "\"A\" <", "A <", ""] {
            for behind in [">", "> ", ">;x", ">;tag=1", ""] {
                let text = format!("{before}{uri}{behind}");
                assert_eq!(NameAddr::parse(text.as_bytes()), NameAddr::odd(text.as_bytes()), "{text}");
            }
        }
    }
}
