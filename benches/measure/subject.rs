//! What is measured: a program, the configuration that it has, and the calls that go through it.

use clap::ValueEnum;

/// One program with one configuration and one kind of calls.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Subject {
    /// Ours as production has it: metrics that are scraped, records, journal; inbound calls over UDP.
    Ours,
    /// The same with outbound calls whose caller ID is rewritten and restored.
    OursRewriting,
    /// The same as the first, over TCP.
    OursByTcp,
    /// Ours without metrics, records or journal.
    OursKeepingNothing,
    /// Kamailio, stateful, with the lookup in memory; inbound calls over UDP.
    Kamailio,
    /// The same with outbound calls whose caller ID is rewritten and restored.
    KamailioRewriting,
    /// The bare relay: what the kernel's part costs.
    Relay,
}

/// Whom ours is measured beside.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Other {
    /// Kamailio from Debian, tuned, doing the same work.
    Kamailio,
    /// A relay that reads nothing.
    Relay,
}

/// Which program it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Program {
    Switchyard(Profile),
    Kamailio,
    Relay,
}

/// How ours is configured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Profile {
    Production,
    Tcp,
    KeepingNothing,
    Soak,
}

impl Subject {
    pub(crate) fn program(self) -> Program {
        match self {
            Subject::Ours | Subject::OursRewriting => Program::Switchyard(Profile::Production),
            Subject::OursByTcp => Program::Switchyard(Profile::Tcp),
            Subject::OursKeepingNothing => Program::Switchyard(Profile::KeepingNothing),
            Subject::Kamailio | Subject::KamailioRewriting => Program::Kamailio,
            Subject::Relay => Program::Relay,
        }
    }

    /// The load generator's words for these calls.
    pub(crate) fn words(self) -> &'static [&'static str] {
        match self {
            Subject::Ours | Subject::OursKeepingNothing | Subject::Kamailio => &["--road", "inbound"],
            Subject::OursRewriting | Subject::KamailioRewriting => &["--road", "outbound"],
            Subject::OursByTcp => &["--road", "inbound", "--transport", "tcp"],
            Subject::Relay => &["--road", "bare"],
        }
    }

    /// False for what is measured only beside another that was not asked for.
    pub(crate) fn is_among(self, others: &[Other]) -> bool {
        match self.program() {
            Program::Switchyard(_) => true,
            Program::Kamailio => others.contains(&Other::Kamailio),
            Program::Relay => others.contains(&Other::Relay),
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Subject::Ours => "Switchyard",
            Subject::OursRewriting => "Switchyard, rewriting",
            Subject::OursByTcp => "Switchyard over TCP",
            Subject::OursKeepingNothing => "Switchyard, keeping nothing",
            Subject::Kamailio => "Kamailio",
            Subject::KamailioRewriting => "Kamailio, rewriting",
            Subject::Relay => "bare relay",
        }
    }

    pub(crate) fn colour(self) -> &'static str {
        match self.program() {
            Program::Switchyard(_) => "#1b6ca8",
            Program::Kamailio => "#c98a1b",
            Program::Relay => "#8a8a8a",
        }
    }
}
