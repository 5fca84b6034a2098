//! What people write for a peer's address: `10.10.10.2`, `10.10.10.2:5060`, `udp:10.10.10.2:5060`, `[2001:db8::1]:5060`.

use proxy::Transport;
use std::net::{IpAddr, SocketAddr};

/// An address, of which what is not said may be anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerAddress {
    transport: Option<Transport>,
    /// The host.
    pub ip: IpAddr,
    port: Option<u16>,
}

impl PeerAddress {
    /// Reads one; `None` for anything else, such as a name.
    pub fn read(text: &str) -> Option<PeerAddress> {
        let (transport, address) = parted(text);
        if let Ok(address) = address.parse::<SocketAddr>() {
            return Some(PeerAddress { transport, ip: address.ip(), port: Some(address.port()) });
        }
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        Some(PeerAddress { transport, ip: bare.parse().ok()?, port: None })
    }

    /// Whether a text can only be meant as an address: no party has such a name.
    pub fn is_meant(text: &str) -> bool {
        let (transport, address) = parted(text);
        transport.is_some() || address.starts_with(|first: char| first.is_ascii_digit() || first == '[')
    }

    /// Whether what is written here, as records have it, is this address.
    pub fn is(&self, written: &str) -> bool {
        let agree = |wanted: Option<u16>, found: Option<u16>| wanted.is_none() || wanted == found;
        PeerAddress::read(written).is_some_and(|found| {
            // A record's source says nothing of the transport.
            let transports = self.transport.zip(found.transport).is_none_or(|(wanted, found)| wanted == found);
            self.ip == found.ip && agree(self.port, found.port) && transports
        })
    }
}

fn parted(text: &str) -> (Option<Transport>, &str) {
    let by = |transport: Transport| {
        let address = text.strip_prefix(transport.as_str())?.strip_prefix(':')?;
        Some((Some(transport), address))
    };
    by(Transport::Udp).or_else(|| by(Transport::Tcp)).unwrap_or((None, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_must_agree_and_the_rest_may_be_anything() {
        for (wanted, written, agrees) in [
            ("10.10.10.11", "udp:10.10.10.11:5070", true),
            ("10.10.10.11:5070", "udp:10.10.10.11:5070", true),
            ("udp:10.10.10.11", "udp:10.10.10.11:5070", true),
            ("udp:10.10.10.2:5060", "10.10.10.2:5060", true),
            ("2001:db8::1", "tcp:[2001:db8::1]:5060", true),
            ("[2001:db8::1]", "tcp:[2001:db8::1]:5060", true),
            ("[2001:db8::1]:5060", "[2001:db8:0::1]:5060", true),
            ("10.10.10.1", "udp:10.10.10.11:5070", false),
            ("10.10.10.11:507", "udp:10.10.10.11:5070", false),
            ("tcp:10.10.10.11:5070", "udp:10.10.10.11:5070", false),
            ("10.10.10.11", "prod", false),
        ] {
            assert_eq!(PeerAddress::read(wanted).unwrap().is(written), agrees, "{wanted} {written}");
        }
    }

    #[test]
    fn a_name_is_no_address_and_a_part_of_one_neither() {
        for (text, is_meant) in [
            ("tata", false),
            ("udp", false),
            ("", false),
            ("10.10.10.", true),
            ("10.10.10.0/24", true),
            ("udp:", true),
            ("udp:tata", true),
            ("[2001:db8::1", true),
        ] {
            assert_eq!((PeerAddress::read(text), PeerAddress::is_meant(text)), (None, is_meant), "{text}");
        }
    }
}
