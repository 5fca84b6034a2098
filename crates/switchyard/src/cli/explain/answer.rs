//! The answer of `switchyard explain`, and of the API's `GET /explain`: as JSON has it, and for people.

use super::limits::{self, Limited};
use crate::cli::shown::ShownCaller;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The answer, as JSON has it. Field names are stable.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// What this instance is.
    pub environment: String,
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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
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
    /// The limits on its way, in the order in which they are asked; none for what is refused before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limited>,
}

/// Who asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sender {
    /// The source address.
    pub ip: IpAddr,
    /// The source port, where it was given or only one can be meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// `udp` or `tcp`.
    pub transport: String,
    /// The arrival interface, where it was given or only one can be meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The trunk or environment that speaks from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub party: Option<String>,
}

/// What is done with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hop {
    /// `udp:10.10.10.3:5080`.
    pub address: String,
    /// Which of our listeners it leaves from.
    pub listener: String,
}

/// Why a request is refused.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// The SIP status.
    pub status: u16,
    /// Its reason phrase.
    pub phrase: String,
    /// The counter's label.
    pub reason: String,
}

/// One rule, and what it found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rule {
    /// The rule's name.
    pub rule: String,
    /// What it found, in words.
    pub told: String,
}

/// For people.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {} from {}", self.method, self.called, self.from)?;
        for (at, step) in self.steps.iter().enumerate() {
            writeln!(f, "  {:>2}. {:<15} {}", at + 1, step.rule, step.told)?;
        }
        if let Some(identity) = &self.identity {
            write!(f, "{identity}")?;
        }
        limits::write(f, &self.limits)?;
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
