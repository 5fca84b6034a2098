//! What is different where a stream carries the messages: Content-Length, and peers that take no stream.

#![expect(clippy::unwrap_used, reason = "the lint's leave for tests does not reach the functions they share")]

mod stage;

use proxy::settings::{BySize, Settings};
use proxy::{Event, Flow, Listener, ListenerId, Time, Transport};
use stage::{Left, PROD, Stage, TATA, invite, response};
use std::net::SocketAddr;

const STREAM: ListenerId = ListenerId(1);

/// The standard topology with a TCP listener at our address.
fn with_stream(settings: &mut Settings) {
    let address = settings.listeners.first().unwrap().address;
    settings.listeners.push(Listener { transport: Transport::Tcp, address });
}

/// Makes every peer one of transport `auto` with this limit.
fn by_size(settings: &mut Settings, datagram_bytes_max: usize) {
    with_stream(settings);
    for peer in settings.parties.iter_mut().flat_map(|party| party.peers.iter_mut()) {
        peer.by_size = Some(BySize { datagram: ListenerId(0), stream: STREAM, datagram_bytes_max });
    }
}

/// Row F9: a request or response that came without Content-Length has one on a stream, and the body's own bytes.
#[test]
fn f9_content_length_is_added_on_a_stream() {
    let mut stage = Stage::with(|settings| {
        with_stream(settings);
        let peers = settings.parties.iter_mut().flat_map(|party| party.peers.iter_mut());
        peers.for_each(|peer| (peer.transport, peer.listener) = (Transport::Tcp, STREAM));
    });
    let bare = |text: &str| text.replace("Content-Length: 0\r\n\r\n", "Content-Type: text/plain\r\n\r\nfour");
    let left = stage.arrives(0, TATA, bare(&invite("bare")));
    let forwarded = left.iter().find(|left| left.to == PROD.parse().unwrap()).unwrap();
    assert!(forwarded.starts("INVITE ") && forwarded.text.ends_with("\r\n\r\nfour"), "{}", forwarded.text);
    assert_eq!(forwarded.header("Content-Length"), "4", "{}", forwarded.text);

    // The other way: the caller's request came by a stream, the answer by datagram.
    let mut stage = Stage::with(with_stream);
    let from = Flow { connection: 7, ..Flow::to(STREAM, TATA.parse().unwrap()) };
    let request = invite("back").replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    stage.engine.handle_message(Time(0), from, request.as_bytes(), &stage.directory, &mut stage.outbox);
    let forwarded = stage.taken().into_iter().find(|left| left.to == PROD.parse().unwrap()).unwrap();
    let left = stage.arrives(10, PROD, bare(&response(&forwarded, "486 Busy Here")));
    let answer = left.iter().find(|left| left.to == TATA.parse().unwrap()).unwrap();
    assert!(answer.starts("SIP/2.0 486") && answer.text.ends_with("four"), "{}", answer.text);
    assert_eq!(answer.header("Content-Length"), "4", "{}", answer.text);
}

/// Row TP1: the limit is the last byte that still goes by datagram.
#[test]
fn tp1_the_limit_is_exact() {
    let sent = |limit: usize| -> Left {
        let mut stage = Stage::with(|settings| by_size(settings, limit));
        let left = stage.arrives(0, TATA, invite("exact"));
        left.into_iter().find(|left| left.to == PROD.parse().unwrap()).unwrap()
    };
    let bytes = sent(65_000).text.len();
    assert!(sent(bytes).header("Via").starts_with("SIP/2.0/UDP "));
    assert!(sent(bytes - 1).header("Via").starts_with("SIP/2.0/TCP "));
}

/// Limit STREAMLESS: the peer after the last place is told, and still served.
#[test]
fn tp1_so_many_peers_without_a_stream_are_remembered() {
    let place = |at: usize| SocketAddr::from(([10, 10, 20, 1], u16::try_from(5_000 + at).unwrap()));
    let mut stage = Stage::with(|settings| {
        by_size(settings, 100);
        let prod = settings.parties.iter_mut().find(|party| &*party.name == "prod").unwrap();
        let peer = *prod.peers.first().unwrap();
        prod.peers = (0..=proxy::limits::STREAMLESS).map(|at| proxy::Peer { address: place(at), ..peer }).collect();
    });
    for at in 0..=proxy::limits::STREAMLESS {
        let flow = Flow::to(STREAM, place(at));
        stage.engine.handle_failure(Time(0), flow, b"ACK", &stage.directory, &mut stage.outbox);
        let is_told = stage.outbox.events().iter().any(|e| matches!(e, Event::LimitReached("streamless_peers")));
        assert_eq!(is_told, at == proxy::limits::STREAMLESS, "peer {at}");
        stage.outbox.clear();
    }
    let left = stage.arrives(1, TATA, invite("first"));
    let forwarded = left.iter().find(|left| left.to == place(0)).unwrap();
    assert!(forwarded.header("Via").starts_with("SIP/2.0/UDP "), "{}", forwarded.text);
}
