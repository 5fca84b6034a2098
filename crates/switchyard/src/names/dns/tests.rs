use super::*;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

/// Long enough for a machine that has much to do.
const PATIENCE: Duration = Duration::from_secs(10);
const HOST: &str = "pbx.example.net";

/// What a server says to a question, by UDP or (true) over TCP.
type Says = fn(&[u8], bool) -> Option<Vec<u8>>;

/// A small DNS server at one port, by UDP and over TCP.
struct Server {
    address: SocketAddr,
    by_udp: Arc<AtomicU32>,
    by_tcp: Arc<AtomicU32>,
}

impl Server {
    async fn start(says: Says) -> Server {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let server = Server { address, by_udp: Arc::default(), by_tcp: Arc::default() };
        let (by_udp, by_tcp) = (Arc::clone(&server.by_udp), Arc::clone(&server.by_tcp));
        tokio::spawn(async move {
            let mut slot = [0; 512];
            while let Ok((size, from)) = udp.recv_from(&mut slot).await {
                by_udp.fetch_add(1, Ordering::Relaxed);
                if let Some(answer) = says(&slot[..size], false) {
                    udp.send_to(&answer, from).await.unwrap();
                }
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                by_tcp.fetch_add(1, Ordering::Relaxed);
                let mut question = vec![0; stream.read_u16().await.unwrap().into()];
                stream.read_exact(&mut question).await.unwrap();
                if let Some(answer) = says(&question, true) {
                    stream.write_u16(answer.len().try_into().unwrap()).await.unwrap();
                    stream.write_all(&answer).await.unwrap();
                }
            }
        });
        server
    }

    async fn asked(&self) -> Found {
        asked(&[self.address]).await
    }

    fn counts(&self) -> (bool, bool) {
        (self.by_udp.load(Ordering::Relaxed) > 0, self.by_tcp.load(Ordering::Relaxed) > 0)
    }
}

async fn asked(servers: &[SocketAddr]) -> Found {
    Resolvers::of(Hosts::default(), servers, PATIENCE).look_up(HOST).await
}

/// An answer with these flags and records (RFC 1035 4.1).
fn answer(question: &[u8], flags: [u8; 2], records: &[Vec<u8>]) -> Option<Vec<u8>> {
    let name_bytes = question[12..].iter().position(|byte| *byte == 0)?;
    let mut answer = question[..2].to_vec();
    answer.extend(flags);
    answer.extend([0, 1, 0, u8::try_from(records.len()).unwrap(), 0, 0, 0, 0]);
    answer.extend(&question[12..12 + name_bytes + 5]);
    answer.extend(records.concat());
    Some(answer)
}

const GOOD: [u8; 2] = [0x81, 0x80];
/// The name of the question: a pointer to it.
const ASKED: &[u8] = &[0xc0, 12];
/// `v1` before the question's domain.
const ALIAS: &[u8] = &[2, b'v', b'1', 0xc0, 16];

fn a(name: &[u8], ttl_s: u8, host: u8) -> Vec<u8> {
    [name, &[0, 1, 0, 1, 0, 0, 0, ttl_s, 0, 4, 10, 10, 10, host]].concat()
}

fn addresses(hosts: impl IntoIterator<Item = u8>) -> Vec<IpAddr> {
    hosts.into_iter().map(|host| Ipv4Addr::new(10, 10, 10, host).into()).collect()
}

#[tokio::test]
async fn what_is_truncated_comes_again_over_tcp() {
    let server = Server::start(|question, over_tcp| match over_tcp {
        false => answer(question, [0x83, 0x80], &[a(ASKED, 60, 1)]),
        true => answer(question, GOOD, &(1..=30).map(|host| a(ASKED, 60, host)).collect::<Vec<_>>()),
    })
    .await;
    assert_eq!(server.asked().await, Ok((addresses(1..=30), Duration::from_secs(60))));
    assert_eq!(server.counts(), (true, true));
}

#[tokio::test]
async fn what_is_truncated_everywhere_is_no_answer() {
    let server = Server::start(|question, _| answer(question, [0x83, 0x80], &[a(ASKED, 60, 1)])).await;
    let why = server.asked().await.unwrap_err();
    assert!(why.starts_with(&server.address.to_string()) && why.contains("truncated"), "{why}");
    assert_eq!(server.counts(), (true, true));
}

#[tokio::test]
async fn addresses_behind_an_alias_count_for_the_shortest_time() {
    let server = Server::start(|question, _| {
        let alias = [ASKED, &[0, 5, 0, 1, 0, 0, 0, 30, 0, 5], ALIAS].concat();
        answer(question, GOOD, &[alias, a(ALIAS, 60, 3)])
    })
    .await;
    assert_eq!(server.asked().await, Ok((addresses([3]), Duration::from_secs(30))));
    assert_eq!(server.counts(), (true, false));
}

/// Whoever answers says what was asked for, and nothing of other names.
#[tokio::test]
async fn addresses_of_another_name_are_passed_over() {
    let server = Server::start(|question, _| answer(question, GOOD, &[a(ALIAS, 1, 66), a(ASKED, 60, 3)])).await;
    assert_eq!(server.asked().await, Ok((addresses([3]), Duration::from_secs(60))));
}

/// One server that fails, does not know the name, or is not there, costs the name nothing.
#[tokio::test]
async fn the_first_server_that_knows_an_address_has_the_word() {
    let good: Says = |question, _| answer(question, GOOD, &[a(ASKED, 60, 3)]);
    let failing: [(&str, Says); 4] = [
        ("SERVFAIL", |question, _| answer(question, [0x81, 0x82], &[])),
        ("NXDOMAIN", |question, _| answer(question, [0x81, 0x83], &[])),
        ("REFUSED", |question, _| answer(question, [0x81, 0x85], &[])),
        ("no address in the answer", |question, _| answer(question, GOOD, &[])),
    ];
    let right = Server::start(good).await;
    for (word, says) in failing {
        let wrong = Server::start(says).await;
        assert_eq!(asked(&[wrong.address, right.address]).await, Ok((addresses([3]), Duration::from_secs(60))));
        assert_eq!(wrong.counts(), (true, false), "{word}");
        let why = wrong.asked().await.unwrap_err();
        assert!(why.contains(word), "{why}");
    }
    let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let silent = Server::start(|_, _| None).await;
    let servers = [gone, silent.address, right.address];
    let resolvers = Resolvers::of(Hosts::default(), &servers, Duration::from_millis(500));
    assert_eq!(resolvers.look_up(HOST).await, Ok((addresses([3]), Duration::from_secs(60))));
    assert_eq!(silent.counts(), (true, false));
    let why = Resolvers::of(Hosts::default(), &[silent.address], Duration::from_millis(500)).look_up(HOST).await;
    assert_eq!(why, Err(format!("{}: no answer in time", silent.address)));
    assert_eq!(asked(&[]).await, Err("no DNS server is known".to_owned()));
}

#[tokio::test]
async fn a_line_of_the_hosts_file_has_the_word_before_dns() {
    let server = Server::start(|question, _| answer(question, GOOD, &[a(ASKED, 60, 3)])).await;
    let of = |lines: &str| {
        let mut hosts = Hosts::default();
        hosts.read_hosts_conf(lines.as_bytes()).unwrap();
        Resolvers::of(hosts, &[server.address], PATIENCE)
    };
    let lines = "# the PBX\n10.10.10.7 pbx.example.net pbx\n10.10.10.8\tpbx.example.net # and its other address\n";
    assert_eq!(of(lines).look_up(HOST).await, Ok((addresses([7, 8]), HOSTS_FOR)));
    assert_eq!(server.counts(), (false, false), "nobody was asked");
    // An address of IPv6 alone is none of ours yet, and another name's line says nothing.
    for lines in
        ["fd00::7 pbx.example.net\n", "10.10.10.7 other.example.net\n", "10.10.10.7\n", "what pbx.example.net\n"]
    {
        assert_eq!(of(lines).look_up(HOST).await, Ok((addresses([3]), Duration::from_secs(60))), "{lines:?}");
    }
}
