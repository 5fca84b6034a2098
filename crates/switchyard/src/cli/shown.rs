//! What the carrier would see of a caller: the identity policy's steps, and the headers of a real message. A synthetic
//! request goes through an engine of its own; nothing is sent.

use directory::{Directory, User};
use proxy::caller_id::{Presented, present};
use proxy::dispatch::is_emergency;
use proxy::{Engine, Flow, Key, KeyRing, Outbox, PartyId, Settings, Time, Transport};
use serde::{Deserialize, Serialize};
use sip::{Index, Method, Name, Parsed, Request};
use std::fmt;
use std::sync::Arc;

/// The headers that name a caller.
const NAMES: [Name; 6] = [
    Name::From,
    Name::PAssertedIdentity,
    Name::PPreferredIdentity,
    Name::RemotePartyId,
    Name::Diversion,
    Name::HistoryInfo,
];

/// Who calls whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'c> {
    pub(super) caller: &'c str,
    pub(super) called: &'c [u8],
    pub(super) method: Method,
}

/// Who is shown, and why. Field names are stable.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShownCaller {
    /// The name of the organisation whose call it is; not there: nobody's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
    /// The user's endpoint, else user name, else extension; not there: no user is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Every step of the identity policy, in words.
    pub steps: Vec<String>,
    /// The identity headers that leave; none where the call does not.
    pub headers: Vec<String>,
}

/// Reads `--caller`: what may stand as a URI's user part.
pub(super) fn caller(text: &str) -> Result<String, String> {
    let is_user = |c: u8| c.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/%".contains(&c);
    match !text.is_empty() && text.len() <= 128 && text.bytes().all(is_user) {
        true => Ok(text.to_owned()),
        false => Err("expected a user part: an endpoint, a user name or a number".to_owned()),
    }
}

/// What the identity policy says of a call, and what leaves of it.
pub(super) fn of<'d>(
    settings: &Settings,
    directory: &'d Directory,
    flow: Flow,
    from: PartyId,
    call: &Call<'_>,
) -> (Presented<'d>, ShownCaller) {
    let text = written(settings, flow, call);
    let mut index = Index::default();
    let trunk = settings.first_trunk().unwrap_or(PartyId(0));
    let claims = match sip::parse(&text, &mut index) {
        Parsed::Request(request) => proxy::identity::claims_of(settings, &request),
        _ => proxy::caller_id::Claims::default(),
    };
    let claims = proxy::caller_id::Claims { emergency: is_emergency(settings, call.called), ..claims };
    let presented = present(settings, directory, from, trunk, &claims);
    let steps = presented.trace.steps().map(|step| step.told(directory).to_string()).collect();
    let organisation = presented.organisation.map(|id| directory.organisation(id).name.to_owned());
    let user = presented.user.map(|user| name_of(&user).to_owned());
    let headers = leaving(settings, directory, flow, &text, call.method);
    (presented, ShownCaller { organisation, user, steps, headers })
}

/// What a user is called: the endpoint, else the user name, else the extension.
fn name_of<'d>(user: &User<'d>) -> &'d str {
    [user.endpoint, user.username].into_iter().find(|name| !name.is_empty()).unwrap_or(user.extension)
}

/// The identity headers of the request that an engine makes of `text`.
fn leaving(settings: &Settings, directory: &Directory, flow: Flow, text: &[u8], method: Method) -> Vec<String> {
    let keys = Arc::new(KeyRing::new(&Key { id: 1, secret: [0; 32] }, &[]));
    let mut engine = Engine::new(Arc::new(settings.clone()), keys);
    let mut outbox = Outbox::new();
    match settings.transport(flow.listener) {
        Transport::Udp => engine.handle_datagram(Time(0), flow, text, directory, &mut outbox),
        Transport::Tcp => engine.handle_message(Time(0), flow, text, directory, &mut outbox),
    }
    let mut index = Index::default();
    for (_, bytes) in outbox.transmits() {
        if let Parsed::Request(request) = sip::parse(bytes, &mut index)
            && request.method() == method
        {
            return identity_lines(&request);
        }
    }
    Vec::new()
}

fn identity_lines(request: &Request<'_>) -> Vec<String> {
    let bytes = request.bytes();
    let named = request.headers().iter().filter(|header| NAMES.contains(&header.name));
    named.map(|header| String::from_utf8_lossy(header.line.of(bytes)).trim_end().to_owned()).collect()
}

/// A request as a PBX would send it from there.
fn written(settings: &Settings, flow: Flow, call: &Call<'_>) -> Vec<u8> {
    let us = settings.listener(flow.listener).map(|own| own.address.to_string()).unwrap_or_default();
    let Call { caller, called, method } = call;
    let (called, method) = (String::from_utf8_lossy(called), method.as_str());
    let (remote, transport) = (flow.remote, settings.transport(flow.listener).via_token());
    format!(
        "{method} sip:{called}@{us} SIP/2.0\r\n\
         Via: SIP/2.0/{transport} {remote};branch=z9hG4bK-explain\r\nMax-Forwards: 70\r\n\
         From: <sip:{caller}@{remote}>;tag=explain\r\nTo: <sip:{called}@{us}>\r\n\
         Call-ID: explain\r\nCSeq: 1 {method}\r\nContact: <sip:{remote}>\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

impl fmt::Display for ShownCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.user, &self.organisation) {
            (Some(user), Some(organisation)) => writeln!(f, "  {user} of {organisation} calls, and is shown:")?,
            (None, Some(organisation)) => writeln!(f, "  {organisation} calls, no user is known, and is shown:")?,
            (_, None) => writeln!(f, "  nobody known calls, and is shown:")?,
        }
        for step in &self.steps {
            writeln!(f, "      {step}")?;
        }
        for line in &self.headers {
            writeln!(f, "   {line}")?;
        }
        Ok(())
    }
}
