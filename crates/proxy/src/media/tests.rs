use super::*;
use sip::{Index, Parsed};

fn stray(content_type: &str, body: &str) -> Option<String> {
    let text = format!(
        "MESSAGE sip:+918065978000@10.10.10.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.10.10.2;branch=z9hG4bK1\r\n\
         From: <sip:a@10.10.10.2>;tag=1\r\nTo: <sip:b@10.10.10.1>\r\nCall-ID: 1\r\nCSeq: 1 MESSAGE\r\n\
         c: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let networks = [network("10.10.10.0", 24), network("fd00:10::", 32)];
    let mut index = Index::new();
    match sip::parse(text.as_bytes(), &mut index) {
        Parsed::Request(request) => stray_address(&request, &networks).map(|ip| ip.to_string()),
        other => panic!("{other:?}"),
    }
}

fn network(ip: &str, bits: u8) -> Network {
    Network { ip: ip.parse().unwrap(), bits }
}

fn of_sdp(body: &str) -> Option<String> {
    let stray_with_lf = stray("application/sdp", body);
    assert_eq!(stray("Application/SDP ; charset=utf-8", &body.replace('\n', "\r\n")), stray_with_lf);
    stray_with_lf
}

#[test]
fn a_stream_has_its_own_address_or_the_sessions() {
    assert_eq!(of_sdp("v=0\no=- 1 1 IN IP4 192.168.1.5\nc=IN IP4 10.10.10.3\nm=audio 10000 RTP/AVP 8\n"), None);
    let outside = Some("192.168.1.5".to_owned());
    assert_eq!(of_sdp("v=0\nc=IN IP4 192.168.1.5\nm=audio 10000 RTP/AVP 8\na=sendrecv\n"), outside);
    assert_eq!(of_sdp("c=IN IP4 192.168.1.5\nm=audio 10000 RTP/AVP 8\nc=IN IP4 10.10.10.3\n"), None);
    assert_eq!(of_sdp("c=IN IP4 10.10.10.3\nm=audio 10000 RTP/AVP 8\nc=IN IP4 192.168.1.5"), outside);
    let two = "c=IN IP4 192.168.1.5\nm=audio 1 RTP/AVP 8\nc=IN IP4 10.10.10.3\nm=video 2/2 RTP/AVP 99\n";
    assert_eq!(of_sdp(two), outside);
    assert_eq!(of_sdp("c=IN IP6 fd00:11::1\nm=audio 1 RTP/AVP 8\n"), Some("fd00:11::1".to_owned()));
    assert_eq!(of_sdp("c=IN IP6 fd00:10::1\nm=audio 1 RTP/AVP 8\n"), None);
    assert_eq!(of_sdp("m=audio 1 RTP/AVP 8\nc=IN IP4 224.2.1.1/127/3\n"), Some("224.2.1.1".to_owned()));
}

#[test]
fn holds_refused_streams_and_names_are_no_fault() {
    assert_eq!(of_sdp("c=IN IP4 0.0.0.0\nm=audio 10000 RTP/AVP 8\n"), None);
    assert_eq!(of_sdp("c=IN IP6 ::\nm=audio 10000 RTP/AVP 8\n"), None);
    assert_eq!(of_sdp("c=IN IP4 192.168.1.5\nm=audio 0 RTP/AVP 8\n"), None);
    assert_eq!(of_sdp("c=IN IP4 10.10.10.3\nm=audio 9 RTP/AVP 8\nm=image 0 udptl t38\nc=IN IP4 192.168.1.5\n"), None);
    assert_eq!(of_sdp("c=IN IP4 pbx.example.org\nm=audio 10000 RTP/AVP 8\n"), None);
    assert_eq!(of_sdp("c=IN IP4 192.168.1.5\n"), None);
}

#[test]
fn only_sdp_is_read_also_inside_of_many_parts() {
    let sdp = "c=IN IP4 192.168.1.5\nm=audio 1 RTP/AVP 8\n";
    assert_eq!(stray("text/plain", sdp), None);
    let parts = |kind: &str| {
        format!(
            "preamble\r\n--b-1\r\nContent-Type: text/plain\r\n\r\nm=x 1\nc=IN IP4 1.1.1.1\n\r\n--b-1\r\nX: 1\r\ncontent-type : {kind}\r\n\r\n{sdp}\r\n--b-1--\r\n"
        )
    };
    let outside = Some("192.168.1.5".to_owned());
    assert_eq!(stray("multipart/mixed;boundary=b-1", &parts("application/sdp")), outside);
    assert_eq!(stray("Multipart/Mixed; Boundary=\"b-1\"; x=y", &parts("Application/sdp;a=b")), outside);
    assert_eq!(stray("multipart/mixed;boundary=b-1", &parts("text/plain")), None);
    assert_eq!(stray("multipart/mixed;boundary=b-2", &parts("application/sdp")), None);
    assert_eq!(stray("multipart/mixed", &parts("application/sdp")), None);
}

#[test]
fn a_network_has_the_addresses_of_its_family_and_prefix() {
    let has = |net: &str, bits, ip: &str| network(net, bits).has(ip.parse().unwrap());
    assert!(has("10.10.10.0", 24, "10.10.10.255") && !has("10.10.10.0", 24, "10.10.11.0"));
    assert!(has("0.0.0.0", 0, "1.2.3.4") && !has("0.0.0.0", 0, "::1"));
    assert!(has("10.10.10.7", 32, "10.10.10.7") && !has("10.10.10.7", 32, "10.10.10.6"));
    assert!(has("10.10.10.0", 24, "::ffff:10.10.10.9"));
    assert!(has("fd00::", 8, "fdff::1") && !has("fd00::1", 128, "fd00::2"));
}

/// Whatever a body holds, reading it ends without a panic.
#[test]
fn any_bytes_are_read() {
    let alphabet = [
        "c=",
        "m=",
        "IN IP4 ",
        "10.10.10.300",
        " ",
        "\r",
        "\n",
        "--b",
        "0",
        "/",
        ":",
        "Content-Type: application/sdp",
        "é",
    ];
    let mut seed = 7_u64;
    for _ in 0..5_000 {
        let mut body = String::new();
        for _ in 0..12 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            body.push_str(alphabet[usize::try_from(seed >> 33).unwrap() % alphabet.len()]);
        }
        let _ = (stray("application/sdp", &body), stray("multipart/mixed;boundary=b", &body));
    }
}
