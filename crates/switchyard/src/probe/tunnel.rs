//! Whether a peer that is silent is silent because of the WireGuard tunnel to it, or because of the PBX behind the tunnel.
//!
//! `wg show` is asked beside the calls, by words that name no secret. The age of the last handshake alone tells late: a
//! tunnel may be cut for three minutes before it is old. So the bytes that arrived count too: the other end of a tunnel that
//! lives answers at least with a keepalive to what it is sent, within 10 s.

use arc_swap::ArcSwap;
use proxy::Time;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often tunnels are looked at.
const EVERY: Duration = Duration::from_secs(5);
/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// A handshake that is older is no session any more (WireGuard's REJECT_AFTER_TIME).
const SESSION: Duration = Duration::from_secs(180);
/// How long nothing may arrive from a peer that is sent probes, until its tunnel counts as down.
const SILENCE: Duration = Duration::from_secs(30);

/// What is down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// The way there.
    Tunnel,
    /// What is at its end.
    Pbx,
}

impl Verdict {
    /// The words of status and logs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Verdict::Tunnel => "tunnel down",
            Verdict::Pbx => "PBX down",
        }
    }
}

/// One peer of a WireGuard interface, as it was seen.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tunnel {
    /// Networks behind it.
    allowed: Vec<(IpAddr, u8)>,
    /// Seconds since 1970 of the last handshake; 0 for none yet.
    handshake_s: u64,
    received_bytes: u64,
    /// A moment after which bytes have arrived: that of the look before the one that found more.
    heard_after: Option<Time>,
    /// When it was looked at.
    looked: Time,
}

/// The tunnels of each interface.
pub(crate) type Tunnels = BTreeMap<String, Vec<(String, Tunnel)>>;

/// What is down, of a peer at `ip` behind `interface` that has been silent since then; `None` while it cannot be told.
pub(crate) fn verdict(
    tunnels: &Tunnels,
    interface: &str,
    ip: IpAddr,
    (now, now_s): (Time, u64),
    silent_since: Time,
) -> Option<Verdict> {
    let Some((_, tunnel)) = tunnels.get(interface)?.iter().find(|(_, tunnel)| tunnel.leads_to(ip)) else {
        // The interface has no way there, or is away itself.
        return Some(Verdict::Tunnel);
    };
    let age = Duration::from_secs(now_s.saturating_sub(tunnel.handshake_s));
    if tunnel.handshake_s == 0 || age > SESSION {
        return Some(Verdict::Tunnel);
    }
    if tunnel.heard_after.is_some_and(|heard| heard >= silent_since) {
        return Some(Verdict::Pbx);
    }
    (now.since(silent_since) > SILENCE).then_some(Verdict::Tunnel)
}

impl Tunnel {
    fn leads_to(&self, ip: IpAddr) -> bool {
        self.allowed.iter().any(|(network, bits)| is_within(ip, *network, *bits))
    }

    /// What is known once it was looked at again.
    fn after(self, before: Option<&Tunnel>) -> Tunnel {
        let Some(before) = before else { return self };
        let has_grown = self.received_bytes > before.received_bytes;
        Tunnel { heard_after: if has_grown { Some(before.looked) } else { before.heard_after }, ..self }
    }
}

fn is_within(ip: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            ip.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V6(ip), IpAddr::V6(network)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            ip.to_bits() & mask == network.to_bits() & mask
        }
        _ => false,
    }
}

/// Seconds since 1970, as WireGuard writes its handshakes.
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Looks at the tunnels for as long as the process lives. `interfaces` names those of the configuration in force.
pub(crate) async fn follow(
    interfaces: impl Fn() -> Vec<String>,
    now: impl Fn() -> Time,
    published: Arc<ArcSwap<Tunnels>>,
) {
    let mut every = tokio::time::interval(EVERY);
    let mut has_failed = false;
    loop {
        every.tick().await;
        let (before, mut seen) = (published.load_full(), Tunnels::new());
        for interface in interfaces() {
            let (looked, name) = (now(), interface.clone());
            let look = tokio::task::spawn_blocking(move || look(&name, looked));
            let found = match tokio::time::timeout(PATIENCE, look).await {
                Ok(Ok(found)) => found,
                _ => Err("wg does not answer".to_owned()),
            };
            match found {
                Ok(found) => {
                    let known = before.get(&interface);
                    let of = |key: &str| known.and_then(|all| all.iter().find(|(other, _)| other == key));
                    let after = found.into_iter().map(|(key, tunnel)| {
                        let tunnel = tunnel.after(of(&key).map(|(_, before)| before));
                        (key, tunnel)
                    });
                    seen.insert(interface, after.collect());
                    has_failed = false;
                }
                Err(why) if has_failed => tracing::debug!(interface, why, "the tunnels cannot be seen"),
                Err(why) => {
                    has_failed = true;
                    tracing::warn!(interface, why, "the tunnels cannot be seen: wg needs CAP_NET_ADMIN");
                }
            }
        }
        published.store(Arc::new(seen));
    }
}

/// The tunnels of an interface as they are now, for who looks once.
pub(crate) struct Handshakes {
    tunnels: Vec<(String, Tunnel)>,
    now_s: u64,
}

/// The last handshake on the way to a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Handshake {
    /// No tunnel of the interface leads there.
    NoWay,
    /// There was none since the interface was made.
    Never,
    /// It is so old.
    Ago(Duration),
}

impl Handshakes {
    /// Looks at an interface; `Err` with what `wg` says.
    pub(crate) fn of(interface: &str) -> Result<Handshakes, String> {
        Ok(Handshakes { tunnels: look(interface, Time::default())?, now_s: now_s() })
    }

    /// That of the tunnel that leads to `ip`.
    pub(crate) fn with(&self, ip: IpAddr) -> Handshake {
        match self.tunnels.iter().find(|(_, tunnel)| tunnel.leads_to(ip)) {
            None => Handshake::NoWay,
            Some((_, tunnel)) if tunnel.handshake_s == 0 => Handshake::Never,
            Some((_, tunnel)) => Handshake::Ago(Duration::from_secs(self.now_s.saturating_sub(tunnel.handshake_s))),
        }
    }
}

fn look(interface: &str, looked: Time) -> Result<Vec<(String, Tunnel)>, String> {
    let [allowed, handshakes, transfer] =
        ["allowed-ips", "latest-handshakes", "transfer"].map(|what| shown(interface, what));
    Ok(read(&allowed?, &handshakes?, &transfer?, looked))
}

/// What `wg show` says; none of these words shows a key that is secret.
fn shown(interface: &str, what: &str) -> Result<String, String> {
    let output = Command::new("wg").args(["show", interface, what]).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("wg does not start: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// One line for each peer: its public key, a tab, and what was asked for.
fn read(allowed: &str, handshakes: &str, transfer: &str, looked: Time) -> Vec<(String, Tunnel)> {
    let value = |text: &str, key: &str| -> Option<String> {
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('\t').map(str::to_owned))
    };
    let network = |text: &str| -> Option<(IpAddr, u8)> {
        let (ip, bits) = text.split_once('/')?;
        Some((ip.parse().ok()?, bits.parse().ok()?))
    };
    let tunnels = allowed.lines().filter_map(|line| {
        let (key, networks) = line.split_once('\t')?;
        let received = value(transfer, key).and_then(|text| text.split('\t').next()?.parse().ok());
        let tunnel = Tunnel {
            allowed: networks.split_whitespace().filter_map(network).collect(),
            handshake_s: value(handshakes, key).and_then(|text| text.trim().parse().ok()).unwrap_or(0),
            received_bytes: received.unwrap_or(0),
            heard_after: None,
            looked,
        };
        Some((key.to_owned(), tunnel))
    });
    tunnels.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "c3RhZ2luZyBpcyBub3QgYSByZWFsIHB1YmxpYyBrZXk=";

    fn tunnels(handshake_s: u64, looks: &[(u64, u64)]) -> Tunnels {
        let mut known: Option<Tunnel> = None;
        for (at_s, received) in looks {
            let allowed = format!("{KEY}\t10.10.10.3/32 fd00:10::3/128\n");
            let (handshakes, transfer) = (format!("{KEY}\t{handshake_s}\n"), format!("{KEY}\t{received}\t999\n"));
            let mut read = read(&allowed, &handshakes, &transfer, Time::from_millis(at_s * 1_000));
            known = read.pop().map(|(_, tunnel)| tunnel.after(known.as_ref()));
        }
        Tunnels::from([("wg0".to_owned(), vec![(KEY.to_owned(), known.unwrap())])])
    }

    /// At second 100 of the process, 1,000 of the clock; the peer is silent since second 80.
    fn judged(tunnels: &Tunnels, ip: &str, at_s: u64) -> Option<Verdict> {
        let now = (Time::from_millis(at_s * 1_000), 900 + at_s);
        verdict(tunnels, "wg0", ip.parse().unwrap(), now, Time::from_millis(80_000))
    }

    #[test]
    fn bytes_that_arrive_while_the_peer_is_silent_say_that_the_tunnel_lives() {
        let lives = tunnels(990, &[(75, 500), (85, 532), (95, 564)]);
        assert_eq!(judged(&lives, "10.10.10.3", 100), Some(Verdict::Pbx));
        assert_eq!(judged(&lives, "fd00:10::3", 100), Some(Verdict::Pbx));
    }

    #[test]
    fn nothing_that_arrives_says_that_the_tunnel_is_down_and_not_too_soon() {
        let cut = tunnels(990, &[(75, 500), (85, 532), (95, 532)]);
        assert_eq!(judged(&cut, "10.10.10.3", 100), None, "what arrived may be from before");
        assert_eq!(judged(&cut, "10.10.10.3", 111), Some(Verdict::Tunnel));
    }

    #[test]
    fn the_last_handshake_is_that_of_the_tunnel_that_leads_there() {
        let seen = |handshake_s| {
            let tunnels = tunnels(handshake_s, &[(75, 500)]).remove("wg0").unwrap();
            Handshakes { tunnels, now_s: 1_000 }
        };
        let with = |seen: &Handshakes, ip: &str| seen.with(ip.parse().unwrap());
        assert_eq!(with(&seen(957), "10.10.10.3"), Handshake::Ago(Duration::from_secs(43)));
        assert_eq!(with(&seen(0), "fd00:10::3"), Handshake::Never);
        assert_eq!(with(&seen(957), "10.10.10.4"), Handshake::NoWay);
    }

    #[test]
    fn an_old_handshake_or_none_or_no_way_is_the_tunnel() {
        let grown = [(75, 500), (85, 532), (95, 564)];
        assert_eq!(judged(&tunnels(800, &grown), "10.10.10.3", 100), Some(Verdict::Tunnel));
        assert_eq!(judged(&tunnels(0, &grown), "10.10.10.3", 100), Some(Verdict::Tunnel));
        assert_eq!(judged(&tunnels(990, &grown), "10.10.10.4", 100), Some(Verdict::Tunnel));
        assert_eq!(judged(&Tunnels::new(), "10.10.10.3", 100), None, "nobody could look");
    }
}
