//! `switchyard explain`: where a call would go, every rule tried, and the limits on its way. The decision is
//! [`proxy::decide`]'s and the limits are admission's, as for live traffic.

mod answer;
mod limits;

pub use answer::{Answer, Hop, Refused, Rule, Sender, Verdict};
pub use limits::Limited;

use super::ask::{Told, Way, ask};
use super::shown::{self, Call, ShownCaller};
use super::{Output, print};
use crate::config::{Configuration, value};
use clap::Args;
use directory::Directory;
use limits::Counted;
use proxy::caller_id::{Presented, Shown};
use proxy::dispatch::{Direction, called_form, called_user};
use proxy::engine::Looked;
use proxy::{
    Counts, Decision, Flow, InterfaceId, ListenerId, Outcome, Party, PartyId, Question, Refusal, Role, Settings, Time,
    Transport, decide,
};
use sip::{Method, Scheme, Uri};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

pub(super) const HELP: &str = "\
The configuration is read, the directory is opened once, and the decision is made by the same function as for live
traffic. Nothing is sent. With --running the running process answers, by its own directory, with leases, testers and panic,
and says how much of each limit is used now.

Exit code: 0 the call is forwarded, 2 it is refused or nobody answers it, 1 there is no answer.

Examples:
  switchyard explain --from 10.10.10.2 +918065978021
  switchyard explain --from 10.10.10.1:5070 +447700900123
  switchyard explain --from 10.10.10.2 --caller +447700900001 +918065978021
  switchyard explain --from 10.10.10.3 --caller org_a1b2c3d4_1001 +447700900123
  switchyard explain --running --from 10.10.10.2 +918065978021
  switchyard explain --from 10.10.10.2 -o json 'sip:08065978021@10.10.10.1;user=phone'";

/// The command's options.
#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    way: Way,
    #[command(flatten)]
    asked: Asked,
    /// Ask the running process, which knows what is used of each limit.
    #[arg(long)]
    running: bool,
}

/// What is asked.
#[derive(Args, Debug)]
struct Asked {
    /// Who sends the request.
    #[arg(long, value_name = "IP[:PORT]", value_parser = sender)]
    from: (IpAddr, Option<u16>),
    /// What carries it: udp or tcp.
    #[arg(long, default_value = "udp", value_parser = transport)]
    transport: Transport,
    /// The interface that it arrives on, where sources are tied to one.
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// The request's method.
    #[arg(long, default_value = "INVITE", value_parser = method)]
    method: Method,
    /// Who calls, as From has it: a user's endpoint or a number. Shows what the carrier would see of an outbound call,
    /// and by a tester's number where his inbound call goes.
    #[arg(long, value_name = "USER", value_parser = super::shown::caller)]
    caller: Option<String>,
    /// The called number in any spelling, or a whole request-URI.
    #[arg(value_name = "NUMBER_OR_URI")]
    called: String,
}

fn sender(text: &str) -> Result<(IpAddr, Option<u16>), String> {
    value::source(text).ok_or_else(|| "expected IP or IP:PORT".to_owned())
}

fn transport(text: &str) -> Result<Transport, String> {
    match text {
        "udp" => Ok(Transport::Udp),
        "tcp" => Ok(Transport::Tcp),
        _ => Err("expected udp or tcp".to_owned()),
    }
}

fn method(text: &str) -> Result<Method, String> {
    match Method::from_bytes(text.as_bytes()) {
        Method::Ack | Method::Cancel | Method::Bye | Method::Prack | Method::Update => {
            Err("expected a method that begins something: this one goes where its call goes".to_owned())
        }
        _ if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err("expected a method".to_owned())
        }
        method => Ok(method),
    }
}

/// Prints the answer to `out`: 0 forward, 2 refused or silence, 1 no answer, with the reason to `faults`.
pub(super) fn explain(options: &Options, out: &mut impl Write, faults: &mut impl Write) -> ExitCode {
    let Options { way, asked, running } = options;
    if *running {
        return ask(way, out, faults, async |client| {
            let answer: Answer = client.find("explain", &asked.question()).await?;
            Ok(Told::new(answer.to_string(), &answer).with_code(answer.exit_code()))
        });
    }
    let answered = way.configuration().and_then(|configuration| {
        let directory = directory_of(&configuration, Duration::MAX)?;
        answer(&configuration.core, &directory, None, asked)
    });
    let answer = match answered {
        Ok(answer) => answer,
        Err(fault) => {
            print(faults, &fault);
            return ExitCode::FAILURE;
        }
    };
    let text = match way.output() {
        Output::Text => answer.to_string(),
        Output::Json => serde_json::to_string_pretty(&answer).unwrap_or_default(),
    };
    print(out, &text);
    ExitCode::from(answer.exit_code())
}

impl Asked {
    /// The same as the API is asked it.
    fn question(&self) -> admin::api::explain::Question {
        let (ip, port) = self.from;
        admin::api::explain::Question {
            from: port.map_or_else(|| ip.to_string(), |port| SocketAddr::new(ip, port).to_string()),
            called: self.called.clone(),
            caller: self.caller.clone(),
            method: Some(self.method.as_str().to_owned()),
            transport: Some(self.transport.as_str().to_owned()),
            interface: self.interface.clone(),
        }
    }
}

/// The directory as the database has it now, unless that takes longer than its time-out or `patience`.
pub(super) fn directory_of(configuration: &Configuration, patience: Duration) -> Result<Arc<Directory>, String> {
    // Only read: what is held back and what is kept on disk are the running process's affairs.
    let query_timeout = configuration.database.query_timeout.min(patience);
    let database = sync::Settings { guard: None, snapshot_dir: None, query_timeout, ..configuration.database.clone() };
    let shown_url = sync::masked_url(&database.url);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    runtime.block_on(async {
        let told = |fault: sync::SyncFault| format!("{shown_url}: {fault}");
        let watcher = sync::start(database).await.map_err(told)?;
        // Without a snapshot the start has waited for the first look, as long as for any answer.
        let (status, directory) = (watcher.status(), watcher.published().load());
        watcher.stop().await;
        let unread = (!directory.is_loaded()).then_some(sync::SyncFault::TimedOut(query_timeout));
        status.fault.or(unread).map_or(Ok(directory), |fault| Err(told(fault)))
    })
}

/// The same for the API: what the running process would do, by its own directory.
pub(crate) fn over_api(
    settings: &Settings,
    counted: (&Counts, Time),
    directory: &Directory,
    question: &admin::api::explain::Question,
) -> Result<serde_json::Value, String> {
    let named = |name: &'static str| move |fault: String| format!("{name}: {fault}");
    let asked = Asked {
        from: sender(&question.from).map_err(named("from"))?,
        transport: transport(question.transport.as_deref().unwrap_or("udp")).map_err(named("transport"))?,
        interface: question.interface.clone(),
        method: method(question.method.as_deref().unwrap_or("INVITE")).map_err(named("method"))?,
        caller: question.caller.as_deref().map(shown::caller).transpose().map_err(named("caller"))?,
        called: question.called.clone(),
    };
    let answer = answer(settings, directory, Some(counted), &asked)?;
    serde_json::to_value(&answer).map_err(|error| error.to_string())
}

/// What would be done with the request that `options` describe, with these calls in progress.
fn answer(settings: &Settings, directory: &Directory, counted: Counted<'_>, options: &Asked) -> Result<Answer, String> {
    let (from, flow) = sender_flow(settings, options)?;
    let mut answer = Answer {
        environment: settings.environment.as_str().to_owned(),
        generation: directory.generation().0,
        from,
        method: options.method.as_str().to_owned(),
        called: options.called.clone(),
        direction: None,
        number: None,
        outcome: Verdict::Silence,
        party: None,
        peers: Vec::new(),
        called_number: None,
        refusal: None,
        steps: Vec::new(),
        identity: None,
        limits: Vec::new(),
    };
    let Some(from) = settings.party_of(&flow) else { return Ok(answer) };
    answer.from.party = settings.party(from).map(|party| party.name.to_string());
    let user = match called(settings, &options.called) {
        Ok(user) => user,
        Err(Wrong::Uri(fault)) => return Err(fault),
        Err(Wrong::Refused(refusal)) => {
            answer.refuse(refusal);
            return Ok(answer);
        }
    };
    if options.method == Method::Options {
        answer.outcome = Verdict::Answer;
        return Ok(answer);
    }
    // An inbound caller matters to tester overrides alone.
    let caller = options.caller.as_deref().and_then(|caller| settings.numbering.canonical_user(caller.as_bytes()).ok());
    let decision = decide(settings, directory, &Question { from, method: options.method, user, caller });
    answer.take(settings, &decision);
    let caller = options.caller.as_deref().filter(|_| decision.direction == Direction::Outbound);
    let presented = caller.map(|caller| {
        let call = Call { caller, called: user, method: options.method };
        let (presented, shown) = shown::of(settings, directory, flow, from, &call);
        answer.show(settings, &presented, shown);
        presented
    });
    if let (Outcome::Forward(id), Verdict::Forward, Method::Invite) = (decision.outcome, answer.outcome, options.method)
    {
        let toward = presented.as_ref().and_then(|presented| presented.trunk).unwrap_or(id);
        let presented = presented.as_ref();
        let looked = Looked { decision: &decision, from, remote: flow.remote, toward, presented };
        let (limits, refusal) = limits::of(settings, directory, counted, &looked);
        answer.limits = limits;
        refusal.into_iter().for_each(|refusal| answer.refuse(refusal));
    }
    Ok(answer)
}

impl Answer {
    /// The identity policy has the last word on the trunk, and may refuse.
    fn show(&mut self, settings: &Settings, presented: &Presented<'_>, shown: ShownCaller) {
        if let (Verdict::Forward, Shown::Refuse(refusal)) = (self.outcome, presented.shown) {
            self.refuse(refusal);
        }
        if let (Verdict::Forward, Some(party)) = (self.outcome, presented.trunk.and_then(|id| settings.party(id))) {
            self.party = Some(format!("trunk {}", party.name));
            self.peers = hops(settings, party);
        }
        self.identity = Some(shown);
    }
}

/// Why there is no user part to decide on.
enum Wrong {
    /// What was given is no URI.
    Uri(String),
    /// The request would be refused before dispatch.
    Refused(Refusal),
}

/// The called user part: of a URI, after the checks that come before dispatch, or a number as it was given.
fn called<'c>(settings: &Settings, called: &'c str) -> Result<&'c [u8], Wrong> {
    let has_scheme = called.split_once(':').is_some_and(|(scheme, _)| scheme.bytes().all(|b| b.is_ascii_alphabetic()));
    if !has_scheme {
        return Ok(called.as_bytes());
    }
    let uri = Uri::parse(called.as_bytes()).map_err(|fault| Wrong::Uri(format!("{called}: {fault}")))?;
    match uri.scheme {
        Scheme::Sips => Err(Wrong::Refused(Refusal::SecureScheme)),
        Scheme::Other => Err(Wrong::Refused(Refusal::UnknownScheme)),
        Scheme::Sip if !settings.is_us(&uri) && settings.peer_named(&uri).is_none() => {
            Err(Wrong::Refused(Refusal::ForeignTarget))
        }
        Scheme::Sip | Scheme::Tel => Ok(called_user(&uri)),
    }
}

/// The flow that the request comes in on. A port or an interface that was not given is that of the configured source,
/// where all sources of the address belong to one party.
fn sender_flow(settings: &Settings, options: &Asked) -> Result<(Sender, Flow), String> {
    let Asked { from: (ip, port), transport, interface, .. } = options;
    let listener = (0..=u16::MAX).map(ListenerId).zip(&settings.listeners);
    let listener = listener.into_iter().find(|(_, own)| own.transport == *transport).map(|(id, _)| id);
    let listener = listener.ok_or_else(|| format!("no listener of sip.listen is of transport {transport}"))?;
    let given = interface.as_ref().map(|name| interface_id(settings, name));
    let speaks = |party: &Party| {
        let fits = |source: &&proxy::Source| {
            source.ip == *ip
                && (*transport == Transport::Tcp || port.is_none() || source.port.is_none() || source.port == *port)
                && (given.is_none() || source.interface.is_none() || source.interface == given)
        };
        party.sources.iter().find(fits).copied()
    };
    let candidates: Vec<(&str, proxy::Source)> =
        settings.parties.iter().filter_map(|party| Some((&*party.name, speaks(party)?))).collect();
    if candidates.len() > 1 {
        let names: Vec<&str> = candidates.iter().map(|(name, _)| *name).collect();
        return Err(format!("{ip} may be {}: say the port (--from IP:PORT) or the --interface", names.join(" or ")));
    }
    let source = candidates.first().map(|(_, source)| *source);
    let port = port.or_else(|| source.and_then(|source| source.port));
    let arrival = given.or_else(|| source.and_then(|source| source.interface)).unwrap_or_default();
    let remote = SocketAddr::new(*ip, port.unwrap_or(5060));
    let known = settings.interfaces.get(usize::from(arrival.0).wrapping_sub(1)).map(ToString::to_string);
    let interface = interface.clone().or(known);
    let sender = Sender { ip: *ip, port, transport: transport.as_str().to_owned(), interface, party: None };
    Ok((sender, Flow { listener, remote, connection: 0, interface: arrival }))
}

fn interface_id(settings: &Settings, name: &str) -> InterfaceId {
    let position = settings.interfaces.iter().position(|known| **known == *name);
    let id = position.and_then(|position| u16::try_from(position + 1).ok());
    id.map_or(InterfaceId::OTHER, InterfaceId)
}

impl Answer {
    /// 0 for a call that goes on and a request that is answered, else 2.
    fn exit_code(&self) -> u8 {
        if matches!(self.outcome, Verdict::Forward | Verdict::Answer) { 0 } else { 2 }
    }

    fn refuse(&mut self, refusal: Refusal) {
        let (phrase, reason) = (refusal.phrase().to_owned(), refusal.name().to_owned());
        self.outcome = Verdict::Refuse;
        self.refusal = Some(Refused { status: refusal.status(), phrase, reason });
    }

    fn take(&mut self, settings: &Settings, decision: &Decision) {
        self.direction = Some(decision.direction.to_string());
        self.number = decision.number.map(|number| format!("+{number}"));
        self.steps = decision
            .trace
            .steps()
            .map(|step| Rule { rule: step.rule().to_owned(), told: step.told(settings).to_string() })
            .collect();
        match decision.outcome {
            Outcome::Refuse(refusal) => self.refuse(refusal),
            Outcome::Forward(id) => self.forward(settings, decision, id),
        }
    }

    fn forward(&mut self, settings: &Settings, decision: &Decision, id: PartyId) {
        self.outcome = Verdict::Forward;
        let Some(party) = settings.party(id) else { return };
        let kind = if party.role == Role::Trunk { "trunk" } else { "environment" };
        self.party = Some(format!("{kind} {}", party.name));
        self.peers = hops(settings, party);
        self.called_number = called_form(settings, decision).map(|(number, form)| {
            let mut written = Vec::new();
            settings.numbering.write(number, form, &mut written);
            String::from_utf8_lossy(&written).into_owned()
        });
    }
}

fn hops(settings: &Settings, party: &Party) -> Vec<Hop> {
    let hops = party.peers.iter().map(|peer| Hop {
        address: peer.to_string(),
        listener: settings.listener(peer.listener).map(|own| own.address.to_string()).unwrap_or_default(),
    });
    hops.collect()
}
