//! Who calls out, what the carrier is shown of it, and what each end must have seen.

use lab::sipp::Keys;

/// A trunk that rewrites.
pub(crate) const TRUNK: &str = "fallback_did = \"+918065080729\"\n";
pub(crate) const NUMBER: &str = "+447700900456";

/// What a PBX writes of a caller, and what the carrier is shown of it.
pub(crate) struct Caller {
    pub(crate) from: &'static str,
    pub(crate) privacy: &'static str,
    pub(crate) diversion: &'static str,
    pub(crate) shown: &'static str,
    pub(crate) diverted: Option<&'static str>,
}

/// The user's own DID is +918065978003.
pub(crate) const KNOWN: Caller = Caller {
    from: "\"Asha\" <sip:org_a1b2c3d4_1001@pbx.example.net>",
    privacy: "Subject: call",
    diversion: "User-Agent: Example PBX 20",
    shown: "<sip:+918065978003@pbx.example.net>",
    diverted: None,
};

/// The messages that one side received, in order.
fn received(messages: &str) -> Vec<&str> {
    messages.split("\n-----").filter(|text| text.contains("message received")).collect()
}

/// The value of a header, without its tag.
fn value<'m>(message: &'m str, name: &str) -> Option<&'m str> {
    let line = message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))?;
    Some(line.split(";tag=").next().unwrap_or_default().trim())
}

/// How the caller is named: in From, or in To of what the callee began.
fn name_of_caller(message: &str) -> Option<&str> {
    let is_of_callee = value(message, "From").is_some_and(|from| from.contains(NUMBER));
    value(message, if is_of_callee { "To" } else { "From" })
}

impl Caller {
    pub(crate) fn keys(&self) -> Keys<'_> {
        [
            ("from", self.from),
            ("identity", "X-Astradial-Endpoint: org_a1b2c3d4_1001"),
            ("privacy", self.privacy),
            ("diversion", self.diversion),
        ]
    }

    /// Each side saw its own name of the caller in every message that it received.
    pub(crate) fn is_seen(&self, sent: &str, arrived: &str) {
        let at_the_carrier = received(arrived);
        let at_the_pbx = received(sent);
        assert!(at_the_carrier.len() >= 3 && at_the_pbx.len() >= 3, "{sent}\n{arrived}");
        for message in &at_the_carrier {
            assert_eq!(name_of_caller(message), Some(self.shown), "{message}");
            assert!(!message.contains("X-Astradial-Endpoint") && !message.contains("org_a1b2c3d4"), "{message}");
        }
        for message in &at_the_pbx {
            assert_eq!(name_of_caller(message), Some(self.from), "{message}");
        }
        let invite = at_the_carrier.first().unwrap();
        assert_eq!(value(invite, "P-Asserted-Identity"), Some("<sip:+918065978003@pbx.example.net>"), "{invite}");
        assert_eq!(value(invite, "Diversion"), self.diverted, "{invite}");
    }
}
