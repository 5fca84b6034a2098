use super::*;

fn parsed(text: &str) -> Uri<'_> {
    Uri::parse(text.as_bytes()).unwrap_or_else(|fault| panic!("{text}: {fault}"))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn part(uri: &Uri<'_>, span: Option<Span>) -> Option<String> {
    span.map(|span| text(span.of(uri.bytes)).to_owned())
}

#[test]
fn a_sip_uri_has_all_its_parts() {
    let uri = parsed("sip:alice:secret@atlanta.example.com:5070;transport=tcp;lr?Subject=a&X=b");
    assert_eq!(uri.scheme, Scheme::Sip);
    assert_eq!(part(&uri, uri.user).unwrap(), "alice");
    assert_eq!(part(&uri, uri.password).unwrap(), "secret");
    assert_eq!(text(uri.host_bytes()), "atlanta.example.com");
    assert_eq!(uri.port, Some(5070));
    assert_eq!(part(&uri, uri.port_span).unwrap(), "5070");
    assert_eq!(part(&uri, Some(uri.hostport)).unwrap(), "atlanta.example.com:5070");
    assert_eq!(part(&uri, Some(uri.params)).unwrap(), ";transport=tcp;lr");
    assert_eq!(part(&uri, uri.headers).unwrap(), "Subject=a&X=b");
    assert_eq!(uri.param("Transport"), Some(Some(&b"tcp"[..])));
    assert_eq!(uri.param("lr"), Some(None));
    assert_eq!(uri.param("maddr"), None);
}

#[test]
fn a_host_alone_is_enough() {
    let uri = parsed("SIPS:10.10.10.1");
    assert_eq!((uri.scheme, uri.user, uri.port), (Scheme::Sips, None, None));
    assert_eq!(uri.host_ip(), Some(IpAddr::from([10, 10, 10, 1])));
    assert!(uri.params.is_empty() && uri.headers.is_none() && uri.password.is_none());
    assert_eq!(parsed("sip:host.?x=y").headers.map(Span::len), Some(3));
}

/// RFC 4475 sections 3.1.1.2, 3.1.1.9 and 3.1.2.11: the user part takes `;`, `?`, `/` and `:` before the `@`.
#[test]
fn the_user_part_ends_at_the_at_sign() {
    let odd = parsed(
        "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com",
    );
    assert_eq!(text(odd.user_bytes().unwrap()), "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*");
    assert_eq!(part(&odd, odd.password).unwrap(), "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)");
    assert_eq!(text(odd.host_bytes()), "example.com");
    assert_eq!(
        text(parsed("sip:user;par=u%40example.net@example.com").user_bytes().unwrap()),
        "user;par=u%40example.net"
    );
    assert_eq!(text(parsed("sip:user@example.com?Route=%3Csip:example.com%3E").host_bytes()), "example.com");
}

/// RFC 5118 sections 4.1, 4.4 and 4.10.
#[test]
fn ipv6_references_have_brackets() {
    let uri = parsed("sip:[2001:db8::10]:5070;lr");
    assert_eq!((text(uri.host_bytes()), uri.port), ("[2001:db8::10]", Some(5070)));
    assert_eq!(uri.host_ip(), Some("2001:db8::10".parse().unwrap()));
    assert_eq!(parsed("sip:[2001:db8::10:5070]").port, None);
    assert_eq!(parsed("sip:[::ffff:192.0.2.10]").host_ip(), Some("::ffff:192.0.2.10".parse().unwrap()));
    for broken in
        ["sip:2001:db8::10", "sip:[2001:db8::10", "sip:[]", "sip:[10.0.0.1]", "sip:[::1]5060", "sip:[fe80::1%25eth0]"]
    {
        assert!(matches!(Uri::parse(broken.as_bytes()), Err(UriFault::BadHost | UriFault::BadPort)), "{broken}");
    }
}

#[test]
fn tel_is_a_number_and_parameters() {
    let uri = parsed("tel:+91-80-6597-8002;phone-context=example.com;ext=7");
    assert_eq!((uri.scheme, text(uri.user_bytes().unwrap())), (Scheme::Tel, "+91-80-6597-8002"));
    assert!(uri.host.is_empty() && uri.host_ip().is_none());
    assert_eq!(uri.param("ext"), Some(Some(&b"7"[..])));
    assert_eq!(Uri::parse(b"tel:;ext=1"), Err(UriFault::NoUser));
}

#[test]
fn an_unknown_scheme_is_opaque() {
    for text in ["nobodyKnowsThisScheme:totallyopaquecontent", "isbn:2983792873", "http://a@b:c?d;e"] {
        let uri = parsed(text);
        assert_eq!(
            (uri.scheme, uri.user, uri.host.is_empty(), uri.params.is_empty()),
            (Scheme::Other, None, true, true)
        );
    }
}

#[test]
fn what_is_no_uri_says_why() {
    let cases: [(&[u8], UriFault); 17] = [
        (b"", UriFault::NoScheme),
        (b"alice", UriFault::NoScheme),
        (b":x", UriFault::NoScheme),
        (b"<sip:a@b>", UriFault::NoScheme),
        (b"1sip:a@b", UriFault::NoScheme),
        (b"sip:a b@c", UriFault::BadCharacter),
        (b"sip:a@b; lr", UriFault::BadCharacter),
        (b"sip:a@b\r\nVia: x", UriFault::BadCharacter),
        (b"sip:a\0@b", UriFault::BadCharacter),
        (b"sip:@b", UriFault::NoUser),
        (b"sip:", UriFault::NoHost),
        (b"sip:a@", UriFault::NoHost),
        (b"sip:a@:5060", UriFault::NoHost),
        (b"sip:a@b%41", UriFault::BadHost),
        (b"sip:a@b@c", UriFault::BadHost),
        (b"sip:a@b:", UriFault::BadPort),
        (b"other:", UriFault::NoHost),
    ];
    for (bytes, fault) in cases {
        assert_eq!(Uri::parse(bytes), Err(fault), "{}", bytes.escape_ascii());
    }
    for port in ["0", "70000", "5060x", "-1", "+5", "99999999999999999999"] {
        assert_eq!(Uri::parse(format!("sip:a@b:{port}").as_bytes()), Err(UriFault::BadPort), "{port}");
    }
    assert_eq!(parsed("sip:b:0005060").port, Some(5060));
}

/// RFC 4475 section 3.1.1.4 and row RT6: `%6C%72` is `lr`, and `%256C` is not `l`.
#[test]
fn rt6_parameter_names_are_compared_with_escapes_resolved_once() {
    let uri = parsed("sip:cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31;%256C=1;%=2;;=3");
    assert_eq!(uri.param("lr"), Some(None));
    assert_eq!(uri.param("NAME"), Some(Some(&b"v%61lue%25%34%31"[..])));
    assert_eq!(uri.param("l"), None);
    assert_eq!(uri.param("l%"), None);
    assert_eq!(uri.params().count(), 5);
    let spans: Vec<_> = uri.params().map(|param| text(param.span.of(uri.bytes))).collect();
    assert_eq!(spans, [";%6C%72", ";n%61me=v%61lue%25%34%31", ";%256C=1", ";%=2", ";=3"]);
}

/// Rows RT6 and SX11: escapes are resolved once, a NUL is a byte like any other, a broken escape is nothing.
#[test]
fn rt6_sx11_user_is_decoded_once() {
    let mut into = [0; 64];
    assert_eq!(decode_user(b"%2B91%2531", &mut into), Some(&b"+91%31"[..]));
    assert_eq!(decode_user(b"null-%00-null", &mut into), Some(&b"null-\0-null"[..]));
    assert_eq!(decode_user(b"\xff\xfe", &mut into), Some(&b"\xff\xfe"[..]));
    for broken in ["%", "%4", "%zz", "a%"] {
        assert_eq!(decode_user(broken.as_bytes(), &mut into), None, "{broken}");
    }
    assert_eq!(decode_user(&[b'1'; 64], &mut into).map(<[u8]>::len), Some(64));
    assert_eq!(decode_user(&[b'1'; 65], &mut into), None);
}

/// Row SX11: bytes beyond ASCII are opaque in a user part, and no host.
#[test]
fn sx11_latin_1_and_utf_8_pass_in_the_user_part() {
    let uri = Uri::parse(b"sip:J\xfcrgen@example.com").unwrap();
    assert_eq!(uri.user_bytes(), Some(&b"J\xfcrgen"[..]));
    assert_eq!(Uri::parse("sip:a@b\u{fc}cher.example".as_bytes()), Err(UriFault::BadHost));
}

/// Our own reading of an IPv4 address takes and refuses what the standard library does.
#[test]
fn ipv4_is_read_as_the_standard_library_reads_it() {
    let parts =
        ["0", "00", "01", "1", "9", "10", "99", "100", "255", "256", "999", "0255", "1000", "", "a", "-1", " 1"];
    let some = ["0", "01", "255", "256", ""];
    let same = |text: &str| {
        assert_eq!(host_ip(text.as_bytes()), text.parse::<Ipv4Addr>().ok().map(IpAddr::V4), "{text}");
    };
    for first in parts {
        same(first);
        for last in parts {
            same(&format!("{first}.{last}"));
            for middle in some {
                same(&format!("{first}.{middle}.0.{last}"));
                same(&format!("{first}.7.{middle}.{last}.1"));
            }
        }
    }
    same("255.255.255.255");
    same("255.255.255.255.");
    same(".1.1.1.1");
}

/// Both ways of reading one say the same.
#[test]
fn what_is_usual_is_read_as_what_is_odd() {
    let schemes = ["sip:", "SIP:", "sips:", "sip", ""];
    let users = [
        "",
        "+918065978002@",
        "a:b@",
        "@",
        ":@",
        "a;x=1?@",
        "a:@",
        "very-long-user-part-that-goes-on-and-on-and-on-for-60@",
    ];
    let hosts =
        ["10.10.10.1", "pbx.example.com", "h", "[2001:db8::1]", "", "a b", "a_b", "a!b", "1.2.3.4\u{7f}", "<a>"];
    let ports = ["", ":5060", ":0", ":", ":65536", ":50:60", ":5a", ":00005060"];
    let ends = ["", ";lr", ";lr;x=a:b@c", "?h=v", ";a?b?c;d", ";", "?", ";x=\"y\""];
    for scheme in schemes {
        for user in users {
            for host in hosts {
                for (port, end) in ports.iter().flat_map(|port| ends.map(|end| (port, end))) {
                    let text = format!("{scheme}{user}{host}{port}{end}");
                    let odd = Uri::odd(text.as_bytes());
                    if let Some(usual) = usual(text.as_bytes()) {
                        assert_eq!(Ok(usual), odd, "{text}");
                    }
                    assert_eq!(Uri::parse(text.as_bytes()), odd, "{text}");
                }
            }
        }
    }
    for len in 0..80 {
        let text = format!("sip:{}", "a".repeat(len));
        assert_eq!(Uri::parse(text.as_bytes()), Uri::odd(text.as_bytes()), "{len}");
    }
}

#[test]
fn usual_uris_are_read_at_once() {
    for text in ["sip:+918065978002@10.10.10.1:5060", "sip:10.10.10.1:5060;lr", "sip:ua@pbx.example.com?x=y"] {
        assert!(usual(text.as_bytes()).is_some(), "{text}");
    }
}
