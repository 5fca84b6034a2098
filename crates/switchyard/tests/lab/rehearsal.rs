//! docs/how-to/switch-over.md, step by step, with calls up: from today's dialplan to the proxy and back.
//!
//! The gateway and the PBXs are the house's phones. The gateway does what `deploy/asterisk/nuc/extensions_switchyard.conf`
//! says: the proxy where it answers OPTIONS with 200, else the prod PBX's own port; that port too after a 503.

use crate::site::{PROD_DID, PROXY, STAGING_DID, sip};
use lab::phones::{self, Answered, Callees, Plan};
use lab::process::{PATIENCE, Place, until};
use lab::program::{CONFIGURATION, Program};
use lab::{Lab, Node};
use nix::sys::signal::Signal;
use std::net::{SocketAddrV4, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A number of the range that no pattern of today's dialplan has: every call to it fails.
const NEW_RANGE_DID: &str = "+918065080700";
/// Somebody in the public network.
const PSTN: &str = "+447700900200";
/// How long the gateway waits for the answer to its OPTIONS (`qualify_timeout`).
const QUALIFIED_WITHIN: Duration = Duration::from_secs(3);

/// Where the PBX of prod is today, and where it is afterwards.
const TODAY: SocketAddrV4 = PROXY;
const AFTERWARDS: SocketAddrV4 = sip(Node::Prod);

struct Rehearsal {
    lab: Lab,
    /// Every call comes from a port of its own, so that its Call-ID tells it from the others.
    next_port: u16,
}

impl Rehearsal {
    fn socket(&self, node: Node, port: u16) -> UdpSocket {
        let at = SocketAddrV4::new(node.address(), port);
        self.lab.inside(Some(node), move || UdpSocket::bind(at)).unwrap().unwrap()
    }

    fn callees(&self, at: SocketAddrV4) -> Callees {
        let node = Node::ALL.into_iter().find(|node| node.address() == *at.ip()).unwrap();
        Callees::start(self.socket(node, at.port()))
    }

    fn own_socket(&mut self, node: Node) -> UdpSocket {
        self.next_port += 1;
        self.socket(node, self.next_port)
    }

    /// One whole call from `node` to a number by way of `at`; its Call-ID.
    fn call(&mut self, node: Node, at: SocketAddrV4, number: &str) -> String {
        let socket = self.own_socket(node);
        whole(&socket, number, |plan| phones::call(&socket, at, plan))
    }

    /// A call that the carrier delivers, by the gateway's dialplan. True: the proxy was passed by.
    fn delivered(&mut self, number: &str) -> (String, bool) {
        let socket = self.own_socket(Node::Nuc);
        if !is_available(&socket) {
            return (whole(&socket, number, |plan| phones::call(&socket, AFTERWARDS, plan)), true);
        }
        let mut diverted = 0;
        let id = whole(&socket, number, |plan| {
            let called = phones::call_by(&socket, PROXY, Some(AFTERWARDS), plan);
            diverted = called.diverted;
            called
        });
        (id, diverted > 0)
    }

    /// A call that stays up.
    fn held(&mut self, node: Node, at: SocketAddrV4, number: &str) -> phones::HeldCall {
        let socket = self.own_socket(node);
        phones::hold(socket, at, number).unwrap()
    }

    fn place(&self) -> Place {
        self.lab.place(Node::Prod).unwrap()
    }

    /// A command of the program on prod; its exit code, and what it printed.
    fn switchyard(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
        let run =
            command.args(arguments).args(["--config"]).arg(self.place().path("switchyard.toml")).output().unwrap();
        (run.status.code(), [run.stdout, run.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat())
    }

    fn compared(&self) -> serde_json::Value {
        let plan = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/asterisk/ext_tata_gateway.conf");
        let endpoints = ["--endpoint", "cloud-endpoint-stage=staging", "--endpoint", "cloud-endpoint-oss=oss"];
        let (_, printed) = self.switchyard(&[&["import-asterisk", plan, "-o", "json"], &endpoints[..]].concat());
        serde_json::from_str(&printed).unwrap_or_else(|fault| panic!("{fault}: {printed}"))
    }
}

/// One call that has to be answered and ended.
fn whole(socket: &UdpSocket, number: &str, calls: impl FnOnce(Plan<'_>) -> phones::Called) -> String {
    let called = calls(Plan { number, count: 1, per_second: 1, hold: Duration::from_millis(200) });
    assert_eq!((called.completed, called.answered_twice), (1, 0), "{number}: {called:#?}");
    format!("0@{}", socket.local_addr().unwrap())
}

/// Whether the proxy answers OPTIONS with 200.
fn is_available(socket: &UdpSocket) -> bool {
    let own = socket.local_addr().unwrap();
    let options = format!(
        "OPTIONS sip:{PROXY} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK-options\r\nMax-Forwards: 70\r\n\
         From: <sip:{own}>;tag=o\r\nTo: <sip:{PROXY}>\r\nCall-ID: options@{own}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    );
    socket.set_read_timeout(Some(QUALIFIED_WITHIN)).unwrap();
    socket.send_to(options.as_bytes(), PROXY).unwrap();
    let mut slot = [0; 2_048];
    // Where nobody is, nothing comes back.
    socket.recv_from(&mut slot).is_ok_and(|(len, _)| slot.get(..len).unwrap().starts_with(b"SIP/2.0 200 "))
}

fn came(answered: &Answered, ids: &[&String], to: &str) {
    let found: Vec<&String> = answered.branches.keys().collect();
    assert!(ids.iter().all(|id| answered.branches.contains_key(*id)), "{to}: {ids:?} expected among {found:?}");
    assert!(answered.unexpected.is_empty(), "{to}: {:#?}", answered.unexpected);
}

fn one_number(differences: &serde_json::Value, kind: &str) -> Vec<String> {
    let all = differences["differences"].as_array().unwrap().iter().filter(|one| one["kind"] == kind);
    all.map(|one| one["number"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn from_today_s_dialplan_to_the_proxy_and_back_with_calls_up() {
    let mut site = Rehearsal { lab: Lab::up(70).unwrap(), next_port: 15_000 };
    let (carrier, staging) = (site.callees(sip(Node::Nuc)), site.callees(sip(Node::Staging)));
    let pbx = site.callees(TODAY);

    // Today: the PBX has every call, and dials staging's and the carrier's itself.
    let today = site.call(Node::Nuc, TODAY, PROD_DID);
    site.call(Node::Prod, sip(Node::Staging), STAGING_DID);
    site.call(Node::Prod, sip(Node::Nuc), PSTN);
    let up_before = site.held(Node::Nuc, TODAY, PROD_DID);

    // Before you begin: the comparison, and a row that is mended by hand, because no process runs yet.
    Program::prepare(&site.place(), &format!("{CONFIGURATION}\n[limits]\ndrain_limit = \"1s\"\n"));
    assert_eq!(one_number(&site.compared(), "elsewhere"), ["+918065978009"]);
    let mend = "UPDATE did_numbers SET routing_environment = 'staging' WHERE number = '+918065978009'";
    let mended = Command::new("sqlite3").arg(site.place().path("directory.db")).arg(mend).status().unwrap();
    assert!(mended.success());
    let compared = site.compared();
    assert_eq!(one_number(&compared, "elsewhere"), Vec::<String>::new());
    assert!(one_number(&compared, "missing_in_dialplan").contains(&NEW_RANGE_DID.to_owned()));

    // 1. The PBX goes to its new port, the proxy takes the old one. The call that is up has the old one as its Contact.
    let answered = pbx.end();
    came(&answered, &[&today, &up_before.id().to_owned()], "the PBX of today");
    let pbx = site.callees(AFTERWARDS);
    let mut program = Program::start_prepared(&site.place(), Path::new(env!("CARGO_BIN_EXE_switchyard")));
    let adopted = up_before.id().to_owned();
    up_before.hang_up().unwrap();
    assert!(program.count("warnings: adopted") > 0, "the end of the call from before went by the proxy");

    // 2. and 3. Calls both ways, by the rows.
    let (prod, passed_by) = site.delivered(PROD_DID);
    assert!(!passed_by);
    let (to_staging, _) = site.delivered(STAGING_DID);
    let (to_new_range, _) = site.delivered(NEW_RANGE_DID);
    let (out, out_of_staging) = (site.call(Node::Prod, PROXY, PSTN), site.call(Node::Staging, PROXY, PSTN));

    // The proxy is away: straight to the PBX, and what is up ends as if nothing had been once it is back.
    let up_meanwhile = site.held(Node::Nuc, PROXY, STAGING_DID);
    program.signal(Signal::SIGTERM);
    until(|| "the proxy to end".to_owned(), PATIENCE, || !program.is_alive());
    let (failed_over, passed_by) = site.delivered(PROD_DID);
    assert!(passed_by, "nobody was at the proxy's address");
    program.kill_and_restart();
    up_meanwhile.hang_up().unwrap();
    let (_, passed_by) = site.delivered(PROD_DID);
    assert!(!passed_by, "the gateway comes back to the proxy");

    // Back: the proxy drains until its last call is over; new ones go straight to the PBX.
    let last = site.held(Node::Nuc, PROXY, PROD_DID);
    let (code, said) = site.switchyard(&["drain", "--reason", "the way back"]);
    assert_eq!(code, Some(0), "{said}");
    let (drained, passed_by) = site.delivered(PROD_DID);
    assert!(passed_by, "a draining proxy answers OPTIONS with 503");
    let straight = site.held(Node::Nuc, AFTERWARDS, PROD_DID);
    let in_progress = || site.switchyard(&["calls", "--in-progress"]).1;
    assert!(in_progress().contains(last.id()), "{}", in_progress());
    last.hang_up().unwrap();
    until(in_progress, PATIENCE, || in_progress().contains("no such call is in the journal"));
    program.signal(Signal::SIGTERM);
    until(|| "the proxy to end".to_owned(), PATIENCE, || !program.is_alive());

    // The PBX has its old address again, and keeps the other until what came by it is over.
    let as_before = site.callees(TODAY);
    let again = site.call(Node::Nuc, TODAY, PROD_DID);
    site.call(Node::Prod, sip(Node::Staging), STAGING_DID);
    let came_straight = straight.id().to_owned();
    straight.hang_up().unwrap();

    came(&as_before.end(), &[&again], "the PBX again");
    let answered = pbx.end();
    came(&answered, &[&prod, &to_new_range, &failed_over, &drained, &came_straight], "the PBX");
    assert!(answered.ended.contains(&adopted), "the PBX hears of the end of the call from before");
    let answered = staging.end();
    came(&answered, &[&to_staging], "staging");
    assert_eq!(answered.branches.len(), answered.ended.len(), "every call at staging was ended");
    came(&carrier.end(), &[&out, &out_of_staging], "the carrier");
}
