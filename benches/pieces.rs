//! The pieces of a message's way, each alone: `pieces PIECE COUNT`, for `valgrind --tool=callgrind`.
//!
//! Two runs with different counts differ by nothing but the repeats: the difference of their instruction counts, by the
//! difference of the counts, is what one takes. `cargo xtask bench --gate` does that, and holds the figures to
//! `benches/baseline.toml`. What the engine takes for whole calls is measured by `engine_cost` of the crate `proxy`.

#![expect(clippy::print_stdout, reason = "a measuring program speaks to the terminal")]

use anyhow::{Context, Result, bail};
use benches::dids;
use directory::{DidRow, Directory, Environment, Generation, OrganisationRow, Policy, Rows, UserRow};
use proxy::settings::{
    Availability, AvailabilitySettings, CallerIdSettings, DispatchSettings, IdentitySettings, LimitSettings, Profile,
    Quota, TimerSettings, UnknownDid,
};
use proxy::{
    Claims, Listener, ListenerId, Outcome, Party, PartyId, Peer, Question, Role, Settings, Shown, Source, Transport,
};
use sip::{Index, Method, Number, Numbering, Parsed, Span, Splice};
use std::hint::black_box;
use std::net::SocketAddr;

const DIDS: u64 = 10_000;
const TRUNK: PartyId = PartyId(0);
const PROD: PartyId = PartyId(1);
const GATEWAY: &str = "10.10.10.2:5060";
const PBX: &str = "10.10.10.1:5070";
const ORGANISATION: &str = "0000000a-0000-4000-8000-a1b2c3d40000";

const INVITE: &[u8] = b"INVITE sip:+918065978001@10.10.10.1:5060 SIP/2.0\r\n\
    Via: SIP/2.0/UDP 10.10.10.2:5060;rport;branch=z9hG4bKc00000001\r\nMax-Forwards: 70\r\n\
    From: <sip:+447700900123@10.10.10.2>;tag=c00000001\r\nTo: <sip:+918065978001@10.10.10.1:5060>\r\n\
    Call-ID: c00000001@example.com\r\nCSeq: 1 INVITE\r\nContact: <sip:ua@10.10.10.2:5060>\r\n\
    User-Agent: Example Gateway 4.2\r\nAllow: INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO\r\n\
    Supported: 100rel, timer, replaces\r\nContent-Type: application/sdp\r\nContent-Length: 193\r\n\r\n\
    v=0\r\no=- 4711 4711 IN IP4 10.10.10.2\r\ns=-\r\nc=IN IP4 10.10.10.2\r\nt=0 0\r\n\
    m=audio 16384 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n";

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let piece = words.next().context("usage: pieces PIECE COUNT")?;
    let count: u64 = words.next().context("usage: pieces PIECE COUNT")?.parse()?;
    // Whatever is measured, everything is made before: so all but the repeats is the same in each run.
    let stand = Stand::new()?;
    let sum = match piece.as_str() {
        "parse" => stand.parse(count)?,
        "edit" => stand.edit(count)?,
        "number" => stand.number(count)?,
        "lookup" => stand.lookup(count)?,
        "decide" => stand.decide(count)?,
        "present" => stand.present(count)?,
        _ => bail!("{piece} is none of parse, edit, number, lookup, decide, present"),
    };
    println!("{piece}: {count} times, sum {sum}");
    Ok(())
}

/// All that the pieces need.
struct Stand {
    settings: Settings,
    directory: Directory,
    /// What callers dial, in three spellings.
    dialled: Vec<String>,
    endpoints: Vec<String>,
    numbers: Vec<Number>,
}

impl Stand {
    fn new() -> Result<Stand> {
        let numbering = Numbering::default();
        let dialled: Vec<String> = (0..DIDS).map(dids::dialled).collect();
        let number = |text: &String| numbering.canonical(text.as_bytes());
        let numbers = dialled.iter().map(number).collect::<Result<Vec<_>, _>>();
        let numbers = numbers.map_err(|fault| anyhow::anyhow!("a number of the bench is none: {fault:?}"))?;
        let endpoints = (0..DIDS).map(dids::endpoint).collect();
        Ok(Stand { settings: settings()?, directory: directory(), dialled, endpoints, numbers })
    }

    /// A number that is never near the one before.
    fn place(nth: u64) -> usize {
        usize::try_from(nth.wrapping_mul(7_919) % DIDS).unwrap_or_default()
    }

    /// An INVITE with a body.
    fn parse(&self, count: u64) -> Result<u64> {
        let (mut index, mut sum) = (Index::default(), 0);
        for _ in 0..count {
            let Parsed::Request(request) = sip::parse(black_box(INVITE), &mut index) else { bail!("it is no request") };
            black_box(&request);
            sum += 1;
        }
        Ok(sum)
    }

    /// What a proxy changes on the way there: a Via and a Record-Route in front, one hop less, another request-URI.
    fn edit(&self, count: u64) -> Result<u64> {
        let at = |text: &[u8]| memchr::memmem::find(INVITE, text).context("the INVITE lacks what is edited");
        let (uri, via, hops) = (at(b"sip:")?, u32::try_from(at(b"Via: ")?)?, at(b"70\r\n")?);
        let uri_end = at(b" SIP/2.0\r\nVia")?;
        let (mut out, mut sum) = (Vec::with_capacity(4_096), 0);
        for _ in 0..count {
            out.clear();
            let mut splice = Splice::new(black_box(INVITE), &mut out);
            splice.replace(Span::new(uri, uri_end), b"sip:+918065978001@10.10.10.1:5070");
            splice.insert(via, b"Via: SIP/2.0/UDP 10.10.10.1:5060;branch=z9hG4bK0123456789abcdef0123456789abcdef\r\n");
            splice.insert(via, b"Record-Route: <sip:10.10.10.1:5060;lr;sw=0123456789abcdef0123456789abcdef>\r\n");
            splice.replace(Span::new(hops, hops + 2), b"69");
            if splice.finish().is_err() {
                bail!("the edits are out of order");
            }
            sum += black_box(&out).len() as u64;
        }
        Ok(sum)
    }

    /// What was dialled, in its one spelling.
    fn number(&self, count: u64) -> Result<u64> {
        let mut sum = 0;
        for nth in 0..count {
            let dialled = self.dialled.get(Stand::place(nth)).context("no number")?;
            let number = self.settings.numbering.canonical_user(black_box(dialled.as_bytes()));
            sum += u64::from(black_box(number).is_ok());
        }
        all(sum, count)
    }

    /// Whose number it is, among 10,000.
    fn lookup(&self, count: u64) -> Result<u64> {
        let mut sum = 0;
        for nth in 0..count {
            let number = *self.numbers.get(Stand::place(nth)).context("no number")?;
            sum += u64::from(black_box(self.directory.did(black_box(number))).is_some());
        }
        all(sum, count)
    }

    /// Where an inbound call goes: its number read, looked up, and the rules tried.
    fn decide(&self, count: u64) -> Result<u64> {
        let mut sum = 0;
        for nth in 0..count {
            let user = self.dialled.get(Stand::place(nth)).context("no number")?.as_bytes();
            let question = Question { from: TRUNK, method: Method::Invite, user: black_box(user), caller: None };
            let decision = black_box(proxy::decide(&self.settings, &self.directory, &question));
            sum += u64::from(decision.outcome == Outcome::Forward(PROD));
        }
        all(sum, count)
    }

    /// What the carrier is shown of an outbound call: the calling endpoint's own number.
    fn present(&self, count: u64) -> Result<u64> {
        let mut sum = 0;
        for nth in 0..count {
            let endpoint = self.endpoints.get(Stand::place(nth)).context("no endpoint")?.as_bytes();
            let claims = Claims { from_user: Some(black_box(endpoint)), ..Claims::default() };
            let presented = black_box(proxy::present(&self.settings, &self.directory, PROD, TRUNK, &claims));
            sum += u64::from(matches!(presented.shown, Shown::Did(..)));
        }
        all(sum, count)
    }
}

/// A piece that does not do its work measures nothing.
fn all(sum: u64, count: u64) -> Result<u64> {
    if sum != count {
        bail!("only {sum} of {count} had the answer that they must have");
    }
    Ok(sum)
}

fn directory() -> Directory {
    let number = |place: u64| format!("+91{}", dids::national(place));
    let did = |place: u64| {
        let id = format!("00000d1d-0000-4000-8000-{place:012}");
        DidRow::assigned(&id, ORGANISATION, &number(place), Environment::Prod)
    };
    let user = |place: u64| {
        let (id, extension) = (format!("0000000e-0000-4000-8000-{place:012}"), place.to_string());
        let mut user = UserRow::active(&id, ORGANISATION, &extension, &dids::endpoint(place));
        user.outbound_did = directory::rows::text(&number(place));
        user
    };
    let rows = Rows {
        organisations: vec![OrganisationRow::active(ORGANISATION, "Asha Clinics", dids::ENDPOINT_PREFIX)],
        dids: (0..DIDS).map(did).collect(),
        users: (0..DIDS).map(user).collect(),
        ..Rows::default()
    };
    directory::build(Generation(1), rows, &Policy::default(), None)
}

fn settings() -> Result<Settings> {
    let party = |name: &str, role: Role, at: &str, identity: IdentitySettings| -> Result<Party> {
        let address: SocketAddr = at.parse()?;
        let peer = Peer { transport: Transport::Udp, address, listener: ListenerId(0), by_size: None };
        Ok(Party {
            name: name.into(),
            role,
            sources: vec![Source { ip: address.ip(), port: None, interface: None }],
            peers: vec![peer],
            called_number: None,
            identity,
            availability: Availability::default(),
            media: Vec::new(),
            quota: Quota::default(),
        })
    };
    let shown = IdentitySettings { profile: Some(Profile::default()), ..IdentitySettings::default() };
    let trunk = party("tata", Role::Trunk, GATEWAY, shown)?;
    let prod = party("prod", Role::Environment(Environment::Prod), PBX, IdentitySettings::default())?;
    Ok(Settings {
        environment: Environment::Prod,
        listeners: vec![Listener { transport: Transport::Udp, address: "10.10.10.1:5060".parse()? }],
        own_names: Vec::new(),
        interfaces: Vec::new(),
        parties: vec![trunk, prod],
        numbering: Numbering::default(),
        caller_id: CallerIdSettings::default(),
        dispatch: DispatchSettings { unknown_did: UnknownDid::Refuse(404), not_in_service_status: 404 },
        adopt_until: None,
        availability: AvailabilitySettings::default(),
        timers: TimerSettings::default(),
        limits: LimitSettings::default(),
    })
}
