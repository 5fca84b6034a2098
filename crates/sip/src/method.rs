//! Methods (IANA: SIP Methods). Names are case-sensitive, and an unknown one is as good as any (RFC 3261 16.3).

/// The method of a request, or of a CSeq.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[expect(missing_docs, reason = "each is the method of its name")]
pub enum Method {
    Invite,
    Ack,
    Bye,
    Cancel,
    Register,
    Options,
    Subscribe,
    Notify,
    Publish,
    Message,
    Info,
    Refer,
    Update,
    Prack,
    /// Any other token; its bytes stand in the message.
    Other,
}

impl Method {
    /// Reads a method. Case counts: `invite` is [`Method::Other`].
    pub const fn from_bytes(bytes: &[u8]) -> Method {
        match bytes {
            b"INVITE" => Method::Invite,
            b"ACK" => Method::Ack,
            b"BYE" => Method::Bye,
            b"CANCEL" => Method::Cancel,
            b"REGISTER" => Method::Register,
            b"OPTIONS" => Method::Options,
            b"SUBSCRIBE" => Method::Subscribe,
            b"NOTIFY" => Method::Notify,
            b"PUBLISH" => Method::Publish,
            b"MESSAGE" => Method::Message,
            b"INFO" => Method::Info,
            b"REFER" => Method::Refer,
            b"UPDATE" => Method::Update,
            b"PRACK" => Method::Prack,
            _ => Method::Other,
        }
    }

    /// As it stands on the wire; `OTHER` for one that is not known.
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::Invite => "INVITE",
            Method::Ack => "ACK",
            Method::Bye => "BYE",
            Method::Cancel => "CANCEL",
            Method::Register => "REGISTER",
            Method::Options => "OPTIONS",
            Method::Subscribe => "SUBSCRIBE",
            Method::Notify => "NOTIFY",
            Method::Publish => "PUBLISH",
            Method::Message => "MESSAGE",
            Method::Info => "INFO",
            Method::Refer => "REFER",
            Method::Update => "UPDATE",
            Method::Prack => "PRACK",
            Method::Other => "OTHER",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_read_back_and_case_counts() {
        for name in [
            "INVITE",
            "ACK",
            "BYE",
            "CANCEL",
            "REGISTER",
            "OPTIONS",
            "SUBSCRIBE",
            "NOTIFY",
            "PUBLISH",
            "MESSAGE",
            "INFO",
            "REFER",
            "UPDATE",
            "PRACK",
        ] {
            let method = Method::from_bytes(name.as_bytes());
            assert_ne!(method, Method::Other, "{name}");
            assert_eq!(method.as_str(), name);
            assert_eq!(Method::from_bytes(name.to_lowercase().as_bytes()), Method::Other);
        }
        assert_eq!(Method::from_bytes(b"INVITES"), Method::Other);
        assert_eq!(Method::from_bytes(b""), Method::Other);
    }
}
