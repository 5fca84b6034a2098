//! The small languages of the file's strings: addresses, sources, durations.

use proxy::Transport;
use proxy::settings::Network;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// What [`endpoint`] reads.
pub(crate) const ENDPOINT: &str = "udp:IP:PORT or tcp:IP:PORT";
/// What [`peer`] reads.
pub(crate) const PEER: &str = "udp:IP:PORT, tcp:IP:PORT or auto:IP:PORT, or a host name in place of IP";
/// What [`source`] reads.
pub(crate) const SOURCE: &str = "IP or IP:PORT, or a host name in place of IP";
/// What [`network`] reads.
pub(crate) const NETWORK: &str = "a network: IP/BITS, with no bit set behind the first BITS";
/// What [`duration`] reads.
pub(crate) const DURATION: &str = "a whole number and a unit: ms, s, m, h or d";

/// `udp:10.10.10.1:5060`, `tcp:[fd00::1]:5060`. `None` is anything else, port 0 too.
pub fn endpoint(text: &str) -> Option<(Transport, SocketAddr)> {
    let (transport, address) = text.split_once(':')?;
    let transport = match transport {
        "udp" => Transport::Udp,
        "tcp" => Transport::Tcp,
        _ => return None,
    };
    let address: SocketAddr = address.parse().ok()?;
    (address.port() != 0).then_some((transport, address))
}

/// Like [`endpoint`], and `auto:10.10.10.3:5080`: by UDP, and by TCP what is too large for that; the flag says so.
pub fn peer(text: &str) -> Option<(Transport, SocketAddr, bool)> {
    match text.strip_prefix("auto:") {
        Some(address) => endpoint(&format!("udp:{address}")).map(|(transport, address)| (transport, address, true)),
        None => endpoint(text).map(|(transport, address)| (transport, address, false)),
    }
}

/// `udp:pbx.example.net:5060`: the transport, the host, the port, and whether it goes by size. The name is a full one: it has
/// a dot, and does not look like an address written badly.
pub fn named_peer(text: &str) -> Option<(Transport, &str, u16, bool)> {
    let (word, place) = text.split_once(':')?;
    let (transport, is_auto) = match word {
        "udp" => (Transport::Udp, false),
        "tcp" => (Transport::Tcp, false),
        "auto" => (Transport::Udp, true),
        _ => return None,
    };
    let (host, port) = place.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    is_full_name(host).then_some((transport, host, port, is_auto))
}

/// `pbx.example.net`, `pbx.example.net:5060`: the host, and the port where one is given. The name is a full one.
pub fn named_source(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok().filter(|port| *port != 0)?)),
        None => (text, None),
    };
    is_full_name(host).then_some((host, port))
}

fn is_full_name(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    super::resolve::is_host_name(host) && host.contains('.') && !last.bytes().all(|byte| byte.is_ascii_digit())
}

/// `10.10.10.2`, `10.10.10.2:5060`, `fd00::2`, `[fd00::2]:5060`. `None` is anything else, port 0 too.
pub fn source(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(ip) = text.parse() {
        return Some((ip, None));
    }
    let address: SocketAddr = text.parse().ok()?;
    (address.port() != 0).then_some((address.ip(), Some(address.port())))
}

/// `10.10.10.0/24`, `fd00:10::/32`. `None` is anything else, an address with bits behind the network's too.
pub fn network(text: &str) -> Option<Network> {
    let (ip, bits) = text.split_once('/')?;
    let network = Network { ip: ip.parse().ok()?, bits: bits.parse().ok()? };
    let (bits_max, behind) = match network.ip {
        IpAddr::V4(ip) => (32, u32::from(ip).checked_shl(u32::from(network.bits)).unwrap_or(0) == 0),
        IpAddr::V6(ip) => (128, u128::from(ip).checked_shl(u32::from(network.bits)).unwrap_or(0) == 0),
    };
    (network.bits <= bits_max && behind).then_some(network)
}

/// `500ms`, `4s`, `3m`, `2h`, `1d`. `None` is anything else, a number without a unit too.
pub fn duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at(unit_at);
    let count: u64 = digits.parse().ok()?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    count.checked_mul(unit_ms).map(Duration::from_millis)
}

/// A duration as the file writes it, in the greatest unit that divides it: `90s`, `2h`.
pub fn written(duration: Duration) -> String {
    let ms = duration.as_millis();
    let unit = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")]
        .into_iter()
        .find(|(unit_ms, _)| ms >= *unit_ms && ms.is_multiple_of(*unit_ms));
    let (unit_ms, name) = unit.unwrap_or((1, "ms"));
    format!("{}{name}", ms / unit_ms)
}

/// True for addresses that no packet from the public network can rightly carry as its source: loopback, private
/// (RFC 1918, RFC 4193), shared (RFC 6598) and link-local ones.
pub fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let shared = matches!(v4.octets(), [100, 64..=127, _, _]);
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || shared
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Why no SIP server can be at this address; `None` when one can.
pub(crate) fn not_a_host(ip: IpAddr) -> Option<&'static str> {
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    match ip {
        _ if ip.is_unspecified() => Some("a wildcard address is nobody's"),
        _ if ip.is_multicast() || broadcast => Some("an address of many hosts is nobody's"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        let v4 = endpoint("udp:10.10.10.1:5060").unwrap();
        assert_eq!(v4, (Transport::Udp, "10.10.10.1:5060".parse().unwrap()));
        let v6 = endpoint("tcp:[fd00::1]:5060").unwrap();
        assert_eq!(v6, (Transport::Tcp, "[fd00::1]:5060".parse().unwrap()));
        for wrong in ["10.10.10.1:5060", "udp:10.10.10.1", "udp:10.10.10.1:0", "udp:10.10.10.1:70000", "tls:1.2.3.4:5"]
        {
            assert_eq!(endpoint(wrong), None, "{wrong}");
        }
        for wrong in ["UDP:10.10.10.1:5060", "udp://10.10.10.1:5060", "udp:pbx:5060", "udp:fd00::1:5060", "", "udp:"] {
            assert_eq!(endpoint(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn peers() {
        let address = "10.10.10.3:5080".parse().unwrap();
        assert_eq!(peer("auto:10.10.10.3:5080"), Some((Transport::Udp, address, true)));
        assert_eq!(peer("tcp:10.10.10.3:5080"), Some((Transport::Tcp, address, false)));
        for wrong in ["auto:10.10.10.3", "auto:udp:10.10.10.3:5080", "AUTO:10.10.10.3:5080", "auto:10.10.10.3:0"] {
            assert_eq!(peer(wrong), None, "{wrong}");
        }
        assert_eq!(endpoint("auto:10.10.10.1:5060"), None, "no socket listens on auto");
    }

    #[test]
    fn peers_by_name() {
        let named = named_peer("udp:pbx.example.net:5060");
        assert_eq!(named, Some((Transport::Udp, "pbx.example.net", 5060, false)));
        assert_eq!(named_peer("auto:pbx.test:5070"), Some((Transport::Udp, "pbx.test", 5070, true)));
        for wrong in [
            "udp:10.10.10.3:5060",
            "udp:10.10.10:5060",
            "udp:pbx.test",
            "udp:pbx.test:0",
            "udp:PBX.test:1",
            "tls:pbx.test:1",
            "udp:pbx:1",
            "udp::1",
        ] {
            assert_eq!(named_peer(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sources() {
        assert_eq!(source("10.10.10.2"), Some(("10.10.10.2".parse().unwrap(), None)));
        assert_eq!(source("10.10.10.2:5070"), Some(("10.10.10.2".parse().unwrap(), Some(5070))));
        assert_eq!(source("fd00::2"), Some(("fd00::2".parse().unwrap(), None)));
        assert_eq!(source("[fd00::2]:5070"), Some(("fd00::2".parse().unwrap(), Some(5070))));
        for wrong in ["", "10.10.10", "10.10.10.2:0", "10.10.10.0/24", "udp:10.10.10.2:5060", "gateway"] {
            assert_eq!(source(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sources_by_name() {
        assert_eq!(named_source("pbx.example.net"), Some(("pbx.example.net", None)));
        assert_eq!(named_source("pbx.example.net:5070"), Some(("pbx.example.net", Some(5070))));
        for wrong in ["", "pbx", "pbx.test:0", "pbx.test:", "10.10.10", "10.10.10.0/24", "udp:pbx.test", "PBX.test"] {
            assert_eq!(named_source(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn durations_are_read_and_written() {
        for text in ["500ms", "4s", "181s", "3m", "2h", "7d", "0ms"] {
            assert_eq!(written(duration(text).unwrap()), text);
        }
        assert_eq!(duration("120s"), duration("2m"));
        for wrong in ["", "5", "s", "1.5s", "-1s", "1 s", "2hours", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn private_addresses() {
        let is_private = |ip: &str| is_private(ip.parse().unwrap());
        for ip in
            ["10.10.10.1", "192.168.1.1", "172.16.0.1", "127.0.0.2", "100.64.0.1", "169.254.1.1", "fd00::1", "::1"]
        {
            assert!(is_private(ip), "{ip}");
        }
        for ip in ["203.0.113.1", "8.8.8.8", "100.128.0.1", "172.32.0.1", "2001:db8::1", "::ffff:203.0.113.1"] {
            assert!(!is_private(ip), "{ip}");
        }
    }
}
