//! Many phones on one UDP socket, that keep to RFC 3261 when messages are lost, doubled or late.
//!
//! SIPp goes by its scenario: a late provisional response fails a call, and a 2xx that comes again passes for the answer
//! to the BYE. So on a bad path it cannot tell a fault of the proxy from one of its own.
#![expect(clippy::unwrap_used, reason = "it serves tests alone: a fault here is the test's failure")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Ends the branch of a call that goes the other way.
const ELSEWHERE: &str = "-elsewhere";
/// How long messages are taken in before it is looked at what is due, however many come.
const TURN: Duration = Duration::from_millis(2);
const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
/// Timers B, F and H.
const TIMEOUT: Duration = Duration::from_secs(32);
/// A proxy's Timer B, and then some: how long a caller waits for a final response.
const PATIENCE: Duration = Duration::from_secs(70);
/// Longer than any test.
const HELD: Duration = Duration::from_secs(86_400);
const SDP: &str =
    "v=0\r\no=lab 1 1 IN IP4 10.10.10.2\r\ns=-\r\nc=IN IP4 10.10.10.2\r\nt=0 0\r\nm=audio 10000 RTP/AVP 8\r\n";

/// What callers do.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// The number that is called.
    pub number: &'a str,
    /// Calls in all.
    pub count: usize,
    /// Calls that begin per second.
    pub per_second: u32,
    /// How long each is up.
    pub hold: Duration,
}

/// What became of a caller's calls.
#[derive(Debug, Default)]
pub struct Called {
    /// Calls that were answered, and whose BYE was answered.
    pub completed: usize,
    /// Why the others were not.
    pub failed: Vec<String>,
    /// Calls that were answered by more than one party.
    pub answered_twice: usize,
    /// Calls that got 503 and went the other way.
    pub diverted: usize,
    /// The most that a call began behind its time: with more than a moment the rate was not the one that was asked for.
    pub late: Duration,
}

/// A request that is sent again until it is answered.
struct Pending {
    bytes: String,
    since: Instant,
    next: Instant,
    interval: Duration,
    /// INVITEs are sent again at ever longer intervals, others at most every `T2`.
    cap: Duration,
}

impl Pending {
    fn new(bytes: String, now: Instant, cap: Duration) -> Pending {
        Pending { bytes, since: now, next: now, interval: T1, cap }
    }

    /// The bytes, when it is time to send them. An error when the time is up.
    fn due(&mut self, now: Instant) -> Result<Option<&str>, ()> {
        if now.duration_since(self.since) >= TIMEOUT {
            return Err(());
        }
        if now < self.next {
            return Ok(None);
        }
        self.next = now + self.interval;
        self.interval = (self.interval * 2).min(self.cap);
        Ok(Some(&self.bytes))
    }
}

enum State {
    Inviting(Pending),
    Ringing(Instant),
    Up { until: Instant, bye: String },
    Ending(Pending),
    Done,
}

struct Call {
    id: String,
    state: State,
    /// Where its requests go: the proxy, or the other way.
    at: SocketAddrV4,
    is_elsewhere: bool,
    /// The ACK of each 2xx, by its To tag.
    acks: BTreeMap<String, String>,
}

/// Places calls from `socket` by way of `proxy`, and waits for the end of all.
pub fn call(socket: &UdpSocket, proxy: SocketAddrV4, plan: Plan<'_>) -> Called {
    call_by(socket, proxy, None, plan)
}

/// The same for a gateway that has another way: a call that gets 503 goes there, as a gateway does that is told to send
/// nothing here at all.
pub fn call_by(socket: &UdpSocket, proxy: SocketAddrV4, other: Option<SocketAddrV4>, plan: Plan<'_>) -> Called {
    socket.set_read_timeout(Some(TURN)).unwrap();
    let own = socket.local_addr().unwrap();
    let (begun, mut slot) = (Instant::now(), vec![0; 65_536]);
    let (mut calls, mut by_id, mut called) = (Vec::<Call>::new(), HashMap::new(), Called::default());
    // Places of the calls that are not over.
    let mut open = Vec::new();
    loop {
        let now = Instant::now();
        let due = |place: usize| begun + Duration::from_secs(1) / plan.per_second * count(place);
        while calls.len() < plan.count && now >= due(calls.len()) {
            called.late = called.late.max(now - due(calls.len()));
            let id = format!("{}@{own}", calls.len());
            by_id.insert(id.clone(), calls.len());
            let invite = request("INVITE", &format!("sip:{}@{proxy}", plan.number), own, &id, None);
            let state = State::Inviting(Pending::new(invite, now, TIMEOUT));
            open.push(calls.len());
            calls.push(Call { id, state, at: proxy, is_elsewhere: false, acks: BTreeMap::new() });
        }
        open.retain(|place: &usize| {
            let Some(call) = calls.get_mut(*place) else { return false };
            let at = call.at;
            if let Err(why) = call.tick(now, |bytes| drop(socket.send_to(bytes.as_bytes(), at))) {
                called.failed.push(format!("{}: {why}", call.id));
            }
            !call.is_over()
        });
        while now.elapsed() < TURN
            && let Ok((size, _)) = socket.recv_from(&mut slot)
        {
            let text = String::from_utf8_lossy(slot.get(..size).unwrap_or_default()).into_owned();
            let Some(call) = by_id.get(value(&text, "Call-ID")).and_then(|at| calls.get_mut(*at)) else { continue };
            if call.is_of_before(&text) {
                continue;
            }
            let at = call.at;
            let send = |bytes: &str| drop(socket.send_to(bytes.as_bytes(), at));
            if let Some(other) = other.filter(|other| call.is_to_go_elsewhere(&text, *other)) {
                call.divert(&text, own, plan.number, other, send);
                called.diverted += 1;
                continue;
            }
            match call.take(&text, own, plan.hold, send) {
                Ok(ended) => called.completed += usize::from(ended),
                Err(why) => called.failed.push(format!("{}: {why}", call.id)),
            }
        }
        if calls.len() == plan.count && open.iter().all(|place| calls.get(*place).is_none_or(Call::is_over)) {
            called.answered_twice = calls.iter().filter(|call| call.acks.len() > 1).count();
            return called;
        }
    }
}

/// One call that is up until it is told to end.
pub struct HeldCall {
    socket: UdpSocket,
    call: Call,
}

/// Calls a number from `socket` by way of `at`; returns when the call is up. The error is what it was refused with.
pub fn hold(socket: UdpSocket, at: SocketAddrV4, number: &str) -> Result<HeldCall, String> {
    socket.set_read_timeout(Some(TURN)).unwrap();
    let own = socket.local_addr().unwrap();
    let id = format!("held@{own}");
    let invite = request("INVITE", &format!("sip:{number}@{at}"), own, &id, None);
    let state = State::Inviting(Pending::new(invite, Instant::now(), TIMEOUT));
    let mut held = HeldCall { socket, call: Call { id, state, at, is_elsewhere: false, acks: BTreeMap::new() } };
    while !matches!(held.call.state, State::Up { .. }) {
        held.turn()?;
    }
    Ok(held)
}

impl HeldCall {
    /// Its Call-ID.
    pub fn id(&self) -> &str {
        &self.call.id
    }

    /// Ends it; the error is why the other side does not know of that.
    pub fn hang_up(mut self) -> Result<(), String> {
        let State::Up { until, .. } = &mut self.call.state else { return Err("it is not up".to_owned()) };
        *until = Instant::now();
        while !self.call.is_over() {
            self.turn()?;
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<(), String> {
        let HeldCall { socket, call } = self;
        let (own, at) = (socket.local_addr().unwrap(), call.at);
        let send = |bytes: &str| drop(socket.send_to(bytes.as_bytes(), at));
        call.tick(Instant::now(), send).map_err(str::to_owned)?;
        let mut slot = vec![0; 65_536];
        let Ok((size, _)) = socket.recv_from(&mut slot) else { return Ok(()) };
        let text = String::from_utf8_lossy(slot.get(..size).unwrap_or_default()).into_owned();
        if value(&text, "Call-ID") == call.id {
            call.take(&text, own, HELD, send)?;
        }
        Ok(())
    }
}

fn count(calls: usize) -> u32 {
    u32::try_from(calls).unwrap_or(u32::MAX)
}

impl Call {
    fn is_over(&self) -> bool {
        matches!(self.state, State::Done)
    }

    fn is_to_go_elsewhere(&self, text: &str, other: SocketAddrV4) -> bool {
        let is_new = matches!(self.state, State::Inviting(_) | State::Ringing(_));
        is_new && self.at != other && text.starts_with("SIP/2.0 503 ")
    }

    /// A call that went elsewhere may hear once more from where it was: every INVITE that was sent again is refused again.
    fn is_of_before(&self, text: &str) -> bool {
        self.is_elsewhere && value(text, "CSeq").ends_with("INVITE") && !value(text, "Via").contains(ELSEWHERE)
    }

    /// Confirms the 503 and calls again, elsewhere.
    fn divert(&mut self, text: &str, own: SocketAddr, number: &str, other: SocketAddrV4, send: impl Fn(&str)) {
        let (uri, branch) = (format!("sip:{number}@{}", self.at), format!("z9hG4bK-INVITE-{}", self.id));
        let ack = request("ACK", &uri, own, &self.id, Some(text));
        send(&ack.replace(&format!("z9hG4bK-ACK-{}", self.id), &branch));
        (self.at, self.is_elsewhere) = (other, true);
        let invite = request("INVITE", &format!("sip:{number}@{other}"), own, &self.id, None);
        let invite = invite.replace(&branch, &format!("{branch}{ELSEWHERE}"));
        self.state = State::Inviting(Pending::new(invite, Instant::now(), TIMEOUT));
    }

    fn tick(&mut self, now: Instant, send: impl Fn(&str)) -> Result<(), &'static str> {
        let failed = match &mut self.state {
            State::Inviting(pending) => {
                pending.due(now).map(|due| due.into_iter().for_each(&send)).err().map(|()| "no answer")
            }
            State::Ringing(since) => (now.duration_since(*since) > PATIENCE).then_some("no final response"),
            State::Up { until, bye } if now >= *until => {
                self.state = State::Ending(Pending::new(std::mem::take(bye), now, T2));
                None
            }
            State::Ending(pending) => {
                pending.due(now).map(|due| due.into_iter().for_each(&send)).err().map(|()| "no answer to the BYE")
            }
            State::Up { .. } | State::Done => None,
        };
        let Some(why) = failed else { return Ok(()) };
        self.state = State::Done;
        Err(why)
    }

    /// A response. True when it ends the call as it should.
    fn take(&mut self, text: &str, own: SocketAddr, hold: Duration, send: impl Fn(&str)) -> Result<bool, String> {
        let status = text.get(8..11).unwrap_or_default();
        if value(text, "CSeq").ends_with("BYE") {
            if !matches!(self.state, State::Ending(_)) || status.starts_with('1') {
                return Ok(false);
            }
            self.state = State::Done;
            return if status == "200" { Ok(true) } else { Err(format!("{status} to the BYE")) };
        }
        match status.get(..1) {
            Some("1") if matches!(self.state, State::Inviting(_)) => self.state = State::Ringing(Instant::now()),
            Some("2") => {
                let target = value(text, "Contact").trim_matches(['<', '>']);
                let ack = self.acks.entry(value(text, "To").to_owned());
                let ack = ack.or_insert_with(|| request("ACK", target, own, &self.id, Some(text)));
                send(ack);
                if matches!(self.state, State::Inviting(_) | State::Ringing(_)) {
                    let bye = request("BYE", target, own, &self.id, Some(text));
                    self.state = State::Up { until: Instant::now() + hold, bye };
                }
            }
            Some("3" | "4" | "5" | "6") if matches!(self.state, State::Inviting(_) | State::Ringing(_)) => {
                self.state = State::Done;
                return Err(text.lines().next().unwrap_or_default().to_owned());
            }
            _ => {}
        }
        Ok(false)
    }
}

/// A request of a caller; in the dialog of a response, by its route, if there is one.
fn request(method: &str, uri: &str, own: SocketAddr, id: &str, dialog: Option<&str>) -> String {
    let number = if method == "BYE" { 2 } else { 1 };
    let to = dialog.map_or_else(|| format!("<{uri}>"), |response| value(response, "To").to_owned());
    let mut route: Vec<_> = dialog.into_iter().flat_map(|text| values(text, "Record-Route")).collect();
    route.reverse();
    let route: String = route.iter().map(|entry| format!("Route: {entry}\r\n")).collect();
    let body = if method == "INVITE" { SDP } else { "" };
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK-{method}-{id}\r\nMax-Forwards: 70\r\n{route}\
         From: <sip:+447700900123@{own}>;tag={id}\r\nTo: {to}\r\nCall-ID: {id}\r\nCSeq: {number} {method}\r\n\
         Contact: <sip:party@{own}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Phones that answer every call.
#[derive(Debug)]
pub struct Callees {
    thread: Option<JoinHandle<Answered>>,
    ends: Arc<AtomicBool>,
}

/// What came to them.
#[derive(Debug, Default)]
pub struct Answered {
    /// INVITE transactions by Call-ID: more than one is a call that was doubled.
    pub branches: BTreeMap<String, BTreeSet<String>>,
    /// Calls that were ended by a BYE.
    pub ended: BTreeSet<String>,
    /// Requests that were seen before.
    pub repeated: usize,
    /// First lines of what should not have come.
    pub unexpected: Vec<String>,
}

impl Callees {
    /// Begins to answer at `socket`.
    pub fn start(socket: UdpSocket) -> Callees {
        Callees::ringing(socket, Duration::ZERO)
    }

    /// The same, with each call ringing for so long before it is answered.
    pub fn ringing(socket: UdpSocket, ring: Duration) -> Callees {
        let ends = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ends);
        socket.set_read_timeout(Some(TURN)).unwrap();
        let thread = std::thread::spawn(move || {
            let mut callees =
                Answering { socket, ring, answered: Answered::default(), unacknowledged: BTreeMap::new() };
            while !end.load(Ordering::Relaxed) {
                callees.turn();
            }
            callees.answered
        });
        Callees { thread: Some(thread), ends }
    }

    /// Ends it; what came.
    pub fn end(mut self) -> Answered {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

struct Answering {
    socket: UdpSocket,
    ring: Duration,
    answered: Answered,
    /// The 200 of each call that has not been acknowledged yet, and where it goes.
    unacknowledged: BTreeMap<String, (Pending, SocketAddr)>,
}

impl Answering {
    fn turn(&mut self) {
        let (mut slot, began) = (vec![0; 65_536], Instant::now());
        while began.elapsed() < TURN
            && let Ok((size, from)) = self.socket.recv_from(&mut slot)
        {
            let text = String::from_utf8_lossy(slot.get(..size).unwrap_or_default()).into_owned();
            self.take(&text, from);
        }
        let (socket, now) = (&self.socket, Instant::now());
        self.unacknowledged.retain(|_, (pending, to)| match pending.due(now) {
            Ok(due) => {
                due.into_iter().for_each(|bytes| drop(socket.send_to(bytes.as_bytes(), *to)));
                true
            }
            Err(()) => false,
        });
    }

    fn take(&mut self, text: &str, from: SocketAddr) {
        let id = value(text, "Call-ID").to_owned();
        match text.split(' ').next() {
            Some("INVITE") => {
                let known = self.answered.branches.contains_key(&id);
                if !self.answered.branches.entry(id.clone()).or_default().insert(value(text, "Via").to_owned()) {
                    self.answered.repeated += 1;
                }
                if !known {
                    self.send(&response("180 Ringing", text), from);
                    let answer = Pending::new(response("200 OK", text), Instant::now() + self.ring, T2);
                    self.unacknowledged.insert(id, (answer, from));
                } else if let Some((pending, to)) = self.unacknowledged.get(&id) {
                    let rings = Instant::now() < pending.since;
                    let again = if rings { response("180 Ringing", text) } else { pending.bytes.clone() };
                    self.send(&again, *to);
                }
            }
            Some("ACK") => drop(self.unacknowledged.remove(&id)),
            Some("BYE") => {
                self.unacknowledged.remove(&id);
                self.send(&response("200 OK", text), from);
                if !self.answered.ended.insert(id) {
                    self.answered.repeated += 1;
                }
            }
            _ => self.answered.unexpected.push(text.lines().next().unwrap_or_default().to_owned()),
        }
    }

    fn send(&self, bytes: &str, to: SocketAddr) {
        // What cannot be sent is lost, as on any path.
        drop(self.socket.send_to(bytes.as_bytes(), to));
    }
}

/// A response to a request that came.
fn response(status: &str, request: &str) -> String {
    let kept = ["Via", "Record-Route", "From", "Call-ID", "CSeq"];
    let kept =
        kept.iter().flat_map(|name| values(request, name).into_iter().map(move |value| format!("{name}: {value}\r\n")));
    let kept: String = kept.collect();
    let to = value(request, "To");
    let tag = if to.contains(";tag=") { String::new() } else { format!(";tag=callee-{}", value(request, "Call-ID")) };
    let own = request.split(['@', ' ']).nth(2).unwrap_or_default();
    format!("SIP/2.0 {status}\r\n{kept}To: {to}{tag}\r\nContact: <sip:party@{own}>\r\nContent-Length: 0\r\n\r\n")
}

fn values<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim).collect()
}

fn value<'a>(text: &'a str, name: &str) -> &'a str {
    values(text, name).first().copied().unwrap_or_default()
}
