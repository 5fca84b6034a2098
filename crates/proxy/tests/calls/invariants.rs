//! What holds in every text, asked for or not (the invariants of faults.md that one call can break).

use crate::ladder::Ladder;
use crate::wire::Wire;
use proxy::{Flow, Settings};
use std::collections::BTreeMap;

/// The first use of a branch.
#[derive(Debug)]
struct Used {
    flow: Flow,
    call_id: String,
    number: u32,
    method: String,
    bytes: Vec<u8>,
}

/// What must be remembered from message to message.
#[derive(Debug, Default)]
pub(crate) struct Invariants {
    branches: BTreeMap<String, Used>,
}

impl Invariants {
    /// Checks one message on its way out.
    pub(crate) fn at_each(
        &mut self,
        settings: &Settings,
        ladder: &Ladder,
        flow: &Flow,
        bytes: &[u8],
    ) -> Result<(), String> {
        let wire = Wire::parse(bytes);
        let known = settings.parties.iter().flat_map(|party| &party.peers).any(|peer| peer.address == flow.remote)
            || settings.parties.iter().flat_map(|party| &party.sources).any(|source| source.ip == flow.remote.ip())
            || ladder.all.iter().any(|passed| passed.arrived && passed.address == flow.remote);
        if !known {
            return Err(format!("I2: {:?} leaves for {}, which is nobody's", wire.start, flow.remote));
        }
        let length = wire.first("content-length");
        if !length.is_empty() && length.parse() != Ok(wire.body.chars().count()) {
            return Err(format!("Content-Length {length} stands before a body of {} bytes", wire.body.chars().count()));
        }
        if !wire.is_response() {
            self.request(settings, ladder, flow, &wire, bytes)?;
        }
        Ok(())
    }

    /// I3 and I8: our Via on top, a branch for one attempt, CANCEL only after a provisional response.
    fn request(
        &mut self,
        settings: &Settings,
        ladder: &Ladder,
        flow: &Flow,
        wire: &Wire,
        bytes: &[u8],
    ) -> Result<(), String> {
        let (branch, vias) = (wire.branch(), wire.elements("via"));
        let own =
            settings.listener(flow.listener).map(|l| format!("SIP/2.0/{} {};", l.transport.via_token(), l.address));
        if !vias.first().zip(own.as_ref()).is_some_and(|(top, own)| top.starts_with(own))
            || !branch.starts_with("z9hG4bK")
        {
            return Err(format!("I3: {:?} leaves with {:?} on top, expected {own:?}", wire.start, vias.first()));
        }
        if let Some(used) = self.branches.get(&branch) {
            let is_same = used.method == wire.method() && used.bytes == bytes;
            let belongs = used.method == "INVITE" && matches!(wire.method(), "CANCEL" | "ACK");
            let same_place = used.flow.remote == flow.remote
                && used.call_id == wire.first("call-id")
                && used.number == wire.cseq_number();
            // What found no stream goes by datagram (18.1.1): the same request, on the same branch, once more.
            let is_streamless = used.flow.listener != flow.listener && by_datagram(&used.bytes) == by_datagram(bytes);
            if !same_place || !(is_same || belongs || is_streamless) {
                return Err(format!("I3: branch {branch} of {} serves {:?} too", used.method, wire.start));
            }
        }
        let provisional =
            |p: &crate::ladder::Passed| p.arrived && p.wire.branch() == branch && (100..200).contains(&p.wire.status());
        if wire.method() == "CANCEL" && vias.len() == 1 && !ladder.all.iter().any(provisional) {
            return Err("I8: CANCEL leaves before any provisional response".into());
        }
        let (call_id, method) = (wire.first("call-id").to_owned(), wire.method().to_owned());
        let used = Used { flow: *flow, call_id, number: wire.cseq_number(), method, bytes: bytes.to_vec() };
        self.branches.entry(branch).or_insert(used);
        Ok(())
    }

    /// I1: one final failure or successes for each INVITE; no failure after a success.
    pub(crate) fn at_end(&self, ladder: &Ladder) -> Result<(), String> {
        let mut finals: BTreeMap<(String, String), Vec<u16>> = BTreeMap::new();
        let sent = ladder.all.iter().filter(|passed| !passed.arrived && passed.wire.status() >= 200);
        for passed in sent.filter(|passed| passed.wire.method() == "INVITE") {
            finals.entry((passed.party.clone(), passed.wire.branch())).or_default().push(passed.wire.status());
        }
        for ((party, branch), statuses) in finals {
            let first_success = statuses.iter().position(|status| *status < 300).unwrap_or(statuses.len());
            let (before, after) = statuses.split_at(first_success);
            let is_one = before.iter().all(|status| before.first() == Some(status));
            if !is_one || after.iter().any(|status| *status >= 300) {
                return Err(format!("I1: INVITE {branch} of {party} got {statuses:?}"));
            }
        }
        Ok(())
    }
}

/// A request with UDP in our Via, whatever stands there.
fn by_datagram(bytes: &[u8]) -> Vec<u8> {
    const TCP: &[u8] = b"Via: SIP/2.0/TCP";
    let mut out = bytes.to_vec();
    if let Some(at) = out.windows(TCP.len()).position(|window| window == TCP) {
        let end = at + TCP.len();
        out.splice(end - 3..end, *b"UDP");
    }
    out
}
