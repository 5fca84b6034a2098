//! The security log: one line for each sender and reason in a second, for programs to read (docs/how-to/fail2ban.md).
//! Its form is a contract: the keys, their order and their words stay.

use proxy::{Flow, Settings, Suspicion, Time};
use std::net::IpAddr;

/// The target that the lines are logged under.
pub(super) const TARGET: &str = "switchyard::security";
/// Lines in one second. Who is left out is still counted in `switchyard_dropped_total`, and is told in another second.
pub(super) const LINES_PER_SECOND: usize = 20;

/// Who has had a line in this second.
#[derive(Debug, Default)]
pub(super) struct Security {
    second: u64,
    told: Vec<(IpAddr, Suspicion)>,
}

impl Security {
    /// Writes the line of a sender, unless it has had one in this second or the second has had its lines.
    pub(super) fn tell(&mut self, now: Time, flow: &Flow, suspicion: Suspicion, settings: &Settings) {
        if self.is_due(now, flow.remote.ip(), suspicion) {
            tracing::warn!(target: TARGET, "{}", line(flow, suspicion, settings));
        }
    }

    fn is_due(&mut self, now: Time, source: IpAddr, suspicion: Suspicion) -> bool {
        let second = now.as_millis() / 1_000;
        if second != self.second {
            self.second = second;
            self.told.clear();
        }
        let is_due = self.told.len() < LINES_PER_SECOND && !self.told.contains(&(source, suspicion));
        if is_due {
            self.told.push((source, suspicion));
        }
        is_due
    }
}

/// `event=scanner source=192.0.2.1 port=5060 transport=udp listener=10.10.10.1:5060`
fn line(flow: &Flow, suspicion: Suspicion, settings: &Settings) -> String {
    let (event, source, port) = (suspicion.name(), flow.remote.ip(), flow.remote.port());
    let transport = settings.transport(flow.listener);
    let listener =
        settings.listener(flow.listener).map_or_else(|| "none".to_owned(), |found| found.address.to_string());
    format!("event={event} source={source} port={port} transport={transport} listener={listener}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proxy::ListenerId;

    #[test]
    fn a_line_has_its_keys_in_their_order() {
        let settings =
            crate::config::read("test", "[sip]\nlisten = [\"udp:10.10.10.1:5060\"]", &|_| None).unwrap().core;
        let flow = |remote: &str| Flow::to(ListenerId(0), remote.parse().unwrap());
        assert_eq!(
            line(&flow("192.0.2.1:5071"), Suspicion::Scanner, &settings),
            "event=scanner source=192.0.2.1 port=5071 transport=udp listener=10.10.10.1:5060"
        );
        assert_eq!(
            line(&flow("[2001:db8::1]:5060"), Suspicion::Malformed, &settings),
            "event=malformed source=2001:db8::1 port=5060 transport=udp listener=10.10.10.1:5060"
        );
    }

    #[test]
    fn a_flood_is_one_line_a_second_for_each_sender_and_so_many_in_all() {
        let mut security = Security::default();
        let source = |last: usize| IpAddr::from([192, 0, 2, u8::try_from(last).unwrap()]);
        let now = Time::from_millis(1_500);
        let lines = (0..1_000).filter(|_| security.is_due(now, source(1), Suspicion::Stranger)).count();
        assert_eq!(lines, 1);
        let lines = (0..1_000).filter(|at| security.is_due(now, source(at % 200), Suspicion::Stranger)).count();
        assert_eq!(lines, LINES_PER_SECOND - 1);
        assert!(security.is_due(Time::from_millis(2_000), source(1), Suspicion::Stranger));
    }
}
