//! What scanning one message costs: `cargo run --release -p sip --example parse_cost`.
//!
//! Prints ns per message, the least, the median and the most of its repeats, for the messages of a call.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a measurement reads the clock and prints")]

use sip::{Index, Parsed, parse};
use std::hint::black_box;
use std::time::Instant;

const REPEATS: usize = 401;
/// Short enough that some repeats run undisturbed on a busy machine.
const MESSAGES_PER_REPEAT: u32 = 1_000;

/// 18 headers and a body of SDP.
const INVITE: &str = "INVITE sip:+918065978002@10.10.10.1:5060;user=phone SIP/2.0\r\n\
    Via: SIP/2.0/UDP 10.10.10.2:5060;branch=z9hG4bK0a1b2c3d4e5f60718293a4b5;rport\r\n\
    Record-Route: <sip:10.10.10.2:5060;lr>\r\n\
    Max-Forwards: 69\r\n\
    From: \"Asha Rao\" <sip:+447700900123@10.10.10.2;user=phone>;tag=8f3a2c1b\r\n\
    To: <sip:+918065978002@10.10.10.1;user=phone>\r\n\
    Call-ID: 5f1d7a20-93c4-4b1e-8a55-0d2f6c7e1b90@10.10.10.2\r\n\
    CSeq: 10271 INVITE\r\n\
    Contact: <sip:+447700900123@10.10.10.2:5060;transport=udp>\r\n\
    Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO\r\n\
    Supported: 100rel, timer, replaces\r\n\
    Session-Expires: 1800;refresher=uac\r\n\
    Min-SE: 90\r\n\
    P-Asserted-Identity: <sip:+447700900123@10.10.10.2;user=phone>\r\n\
    Privacy: none\r\n\
    User-Agent: Example Gateway 4.2\r\n\
    Accept: application/sdp\r\n\
    Content-Type: application/sdp\r\n\
    Content-Length: 210\r\n\
    \r\n\
    v=0\r\no=- 4711 4711 IN IP4 10.10.10.2\r\ns=-\r\nc=IN IP4 10.10.10.2\r\nt=0 0\r\n\
    m=audio 16384 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\n\
    a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\n";

/// Behind two proxies, with the headers that a PBX writes.
const OK: &str = "SIP/2.0 200 OK\r\n\
    Via: SIP/2.0/UDP 10.10.10.1:5060;branch=z9hG4bK77ab01cd23ef4567;rport=5060;received=10.10.10.1\r\n\
    Via: SIP/2.0/UDP 10.10.10.2:5060;branch=z9hG4bK0a1b2c3d4e5f60718293a4b5;rport=5060;received=10.10.10.2\r\n\
    Record-Route: <sip:10.10.10.1:5060;lr;sw=AAECAwQFBgcICQoL>, <sip:10.10.10.2:5060;lr>\r\n\
    From: \"Asha Rao\" <sip:+447700900123@10.10.10.2;user=phone>;tag=8f3a2c1b\r\n\
    To: <sip:+918065978002@10.10.10.1;user=phone>;tag=as5b1e77aa\r\n\
    Call-ID: 5f1d7a20-93c4-4b1e-8a55-0d2f6c7e1b90@10.10.10.2\r\n\
    CSeq: 10271 INVITE\r\n\
    Contact: <sip:10.10.10.1:5070>\r\n\
    Server: Example PBX 20\r\n\
    Content-Length: 0\r\n\r\n";

/// What is asked again and again.
const OPTIONS: &str = "OPTIONS sip:10.10.10.1:5060 SIP/2.0\r\n\
    Via: SIP/2.0/UDP 10.10.10.2:5060;branch=z9hG4bK5519;rport\r\n\
    Max-Forwards: 70\r\n\
    From: <sip:ping@10.10.10.2>;tag=1\r\n\
    To: <sip:10.10.10.1:5060>\r\n\
    Call-ID: 55191@10.10.10.2\r\n\
    CSeq: 1 OPTIONS\r\n\
    Content-Length: 0\r\n\r\n";

fn main() {
    let mut index = Index::new();
    println!("{:<12} {:>6} {:>8} {:>8} {:>8} {:>8}", "message", "bytes", "headers", "min_ns", "mid_ns", "max_ns");
    for (name, text) in [("INVITE", INVITE), ("200 OK", OK), ("OPTIONS", OPTIONS)] {
        let headers = match parse(text.as_bytes(), &mut index) {
            Parsed::Request(request) => request.headers().len(),
            Parsed::Response(response) => response.headers().len(),
            other => {
                println!("{name} was refused: {other:?}");
                return;
            }
        };
        let mut costs_ns: Vec<f64> = (0..REPEATS).map(|_| cost_ns(text.as_bytes(), &mut index)).collect();
        costs_ns.sort_by(f64::total_cmp);
        let of = |rank: usize| costs_ns.get(rank).copied().unwrap_or_default();
        let (min, mid, max) = (of(0), of(REPEATS / 2), of(REPEATS - 1));
        println!("{name:<12} {:>6} {headers:>8} {min:>8.0} {mid:>8.0} {max:>8.0}", text.len());
    }
}

/// The mean of one repeat.
fn cost_ns(bytes: &[u8], index: &mut Index) -> f64 {
    let start = Instant::now();
    for _ in 0..MESSAGES_PER_REPEAT {
        black_box(parse(black_box(bytes), index));
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(MESSAGES_PER_REPEAT)
}
