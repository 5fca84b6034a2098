//! `switchyard explain`: where a call would go, and every rule tried. The decision is [`proxy::decide`]'s, as for live
//! traffic.

use super::shown::{self, Call, ShownCaller};
use super::{ConfigOption, Output, print};
use crate::config::{self, Configuration, value};
use clap::Args;
use directory::Directory;
use proxy::caller_id::{Presented, Shown};
use proxy::dispatch::{Direction, called_form, called_user};
use proxy::{
    Decision, Flow, InterfaceId, ListenerId, Outcome, Party, PartyId, Question, Refusal, Role, Settings, Transport,
    decide,
};
use serde::Serialize;
use sip::{Method, Scheme, Uri};
use std::fmt;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

pub(super) const HELP: &str = "\
The configuration is read, the directory is opened once, and the decision is made by the same function as for live
traffic. Nothing is sent, and the running proxy is not asked.

Exit code: 0 the call is forwarded, 2 it is refused or nobody answers it, 1 there is no answer.

Examples:
  switchyard explain --from 10.10.10.2 +918065978021
  switchyard explain --from 10.10.10.1:5070 +447700900123
  switchyard explain --from 10.10.10.2 --caller +447700900001 +918065978021
  switchyard explain --from 10.10.10.3 --caller org_a1b2c3d4_1001 +447700900123
  switchyard explain --from 10.10.10.2 -o json 'sip:08065978021@10.10.10.1;user=phone'";

/// The command's options.
#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    config: ConfigOption,
    #[command(flatten)]
    asked: Asked,
    /// How the answer is printed.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
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
    value::source(text).ok_or_else(|| format!("expected {}", value::SOURCE))
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
    let answered =
        config::load(&options.config.config).map_err(|faults| faults.to_string()).and_then(|configuration| {
            let directory = directory_of(&configuration, Duration::MAX)?;
            answer(&configuration.core, &directory, &options.asked)
        });
    let answer = match answered {
        Ok(answer) => answer,
        Err(fault) => {
            print(faults, &fault);
            return ExitCode::FAILURE;
        }
    };
    let text = match options.output {
        Output::Text => answer.to_string(),
        Output::Json => serde_json::to_string_pretty(&answer).unwrap_or_default(),
    };
    print(out, &text);
    if answer.outcome == Verdict::Forward || answer.outcome == Verdict::Answer {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
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

/// The answer, as JSON has it. Field names are stable.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// What this instance is.
    pub environment: &'static str,
    /// The version of the directory that was asked; 1 for one that was just opened.
    pub generation: u64,
    /// Who asks.
    pub from: Sender,
    /// The request's method.
    pub method: String,
    /// What is called, as it was given.
    pub called: String,
    /// Which way the call goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// The called number in E.164, with `+`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// What is done with it.
    pub outcome: Verdict,
    /// Who takes the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub party: Option<String>,
    /// Where it goes, in the order in which it is tried.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<Hop>,
    /// How the called number is written toward them; not there: as received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub called_number: Option<String>,
    /// Why it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refused>,
    /// Every rule tried, in order.
    pub steps: Vec<Rule>,
    /// Who is shown to the carrier, for an outbound call of a given caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<ShownCaller>,
}

/// Who asks.
#[derive(Clone, Debug, Serialize)]
pub struct Sender {
    /// The source address.
    pub ip: IpAddr,
    /// The source port, where it was given or only one can be meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// `udp` or `tcp`.
    pub transport: &'static str,
    /// The arrival interface, where it was given or only one can be meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The trunk or environment that speaks from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub party: Option<String>,
}

/// What is done with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It goes on to a party's peers.
    Forward,
    /// It is answered with a status of ours.
    Refuse,
    /// It is for the proxy itself: OPTIONS.
    Answer,
    /// It is dropped: a stranger learns nothing.
    Silence,
}

/// One place where a call goes.
#[derive(Clone, Debug, Serialize)]
pub struct Hop {
    /// `udp:10.10.10.3:5080`.
    pub address: String,
    /// Which of our listeners it leaves from.
    pub listener: String,
}

/// Why a request is refused.
#[derive(Clone, Debug, Serialize)]
pub struct Refused {
    /// The SIP status.
    pub status: u16,
    /// Its reason phrase.
    pub phrase: &'static str,
    /// The counter's label.
    pub reason: &'static str,
}

/// One rule, and what it found.
#[derive(Clone, Debug, Serialize)]
pub struct Rule {
    /// The rule's name.
    pub rule: &'static str,
    /// What it found, in words.
    pub told: String,
}

/// The same for the API: what the running process would do, by its own directory.
pub(crate) fn over_api(
    settings: &Settings,
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
    let answer = answer(settings, directory, &asked)?;
    serde_json::to_value(&answer).map_err(|error| error.to_string())
}

/// What would be done with the request that `options` describe.
fn answer(settings: &Settings, directory: &Directory, options: &Asked) -> Result<Answer, String> {
    let (from, flow) = sender_flow(settings, options)?;
    let mut answer = Answer {
        environment: settings.environment.as_str(),
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
    if let Some(caller) = options.caller.as_deref().filter(|_| decision.direction == Direction::Outbound) {
        let call = Call { caller, called: user, method: options.method };
        answer.show(settings, shown::of(settings, directory, flow, from, &call));
    }
    Ok(answer)
}

impl Answer {
    /// The identity policy has the last word on the trunk, and may refuse.
    fn show(&mut self, settings: &Settings, (presented, shown): (Presented<'_>, ShownCaller)) {
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
    let sender = Sender { ip: *ip, port, transport: transport.as_str(), interface, party: None };
    Ok((sender, Flow { listener, remote, connection: 0, interface: arrival }))
}

fn interface_id(settings: &Settings, name: &str) -> InterfaceId {
    let position = settings.interfaces.iter().position(|known| **known == *name);
    let id = position.and_then(|position| u16::try_from(position + 1).ok());
    id.map_or(InterfaceId::OTHER, InterfaceId)
}

impl Answer {
    fn refuse(&mut self, refusal: Refusal) {
        self.outcome = Verdict::Refuse;
        self.refusal = Some(Refused { status: refusal.status(), phrase: refusal.phrase(), reason: refusal.name() });
    }

    fn take(&mut self, settings: &Settings, decision: &Decision) {
        self.direction = Some(decision.direction.to_string());
        self.number = decision.number.map(|number| format!("+{number}"));
        self.steps = decision
            .trace
            .steps()
            .map(|step| Rule { rule: step.rule(), told: step.told(settings).to_string() })
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

/// The answer for people.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {} from {}", self.method, self.called, self.from)?;
        for (at, step) in self.steps.iter().enumerate() {
            writeln!(f, "  {:>2}. {:<15} {}", at + 1, step.rule, step.told)?;
        }
        if let Some(identity) = &self.identity {
            write!(f, "{identity}")?;
        }
        match (self.outcome, &self.refusal) {
            (Verdict::Forward, _) => self.forwarded(f)?,
            (Verdict::Refuse, Some(refused)) => {
                writeln!(f, "=> refused with {} {} ({})", refused.status, refused.phrase, refused.reason)?;
            }
            (Verdict::Answer, _) => {
                writeln!(
                    f,
                    "=> answered by the proxy itself: 200 when it is ready, 503 while it drains or has no directory"
                )?;
            }
            (Verdict::Silence | Verdict::Refuse, _) => {
                writeln!(f, "=> silence: nobody speaks from there, and a stranger gets no answer")?;
            }
        }
        write!(f, "   this instance is {}, its directory of generation {}", self.environment, self.generation)
    }
}

impl Answer {
    fn forwarded(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "=> forwarded to {}", self.party.as_deref().unwrap_or_default())?;
        for hop in &self.peers {
            writeln!(f, "   at {} from {}", hop.address, hop.listener)?;
        }
        match &self.called_number {
            Some(written) => writeln!(f, "   the called number is written {written}"),
            None => writeln!(f, "   the called number stays as received"),
        }
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}", SocketAddr::new(self.ip, port))?,
            None => write!(f, "{}", self.ip)?,
        }
        write!(f, " over {}", self.transport)?;
        if let Some(interface) = &self.interface {
            write!(f, " on {interface}")?;
        }
        self.party.as_ref().map_or(Ok(()), |party| write!(f, " ({party})"))
    }
}
