//! What is used of each limit on calls.

use super::Told;
use admin::api::dids::OrganisationName;
use admin::api::limits::{LimitInUse, LimitKind};
use directory::Directory;
use proxy::calls::Subject;
use proxy::{Party, Role};
use telemetry::catalogue;

/// Limits of the process and its parties, and those of DIDs and organisations that have calls.
pub(super) fn read(told: &Told, directory: &Directory) -> Vec<LimitInUse> {
    let settings = told.settings.load();
    let mut limits: Vec<LimitInUse> = settings.parties.iter().flat_map(|party| of_party(told, party)).collect();
    limits.extend(of_rows(told, directory));
    let most = &settings.limits;
    let open = told.tally.value(&catalogue::OPEN_TRANSACTIONS, "");
    let whole = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let of_process = [
        (LimitKind::Transactions, Some(open), Some(whole(most.transactions))),
        (LimitKind::TransactionBytes, None, Some(whole(most.transaction_bytes))),
        (LimitKind::DidCallsPerSecond, None, most.did_calls_per_second.map(u64::from)),
        (LimitKind::OrganisationCallsPerSecond, None, most.organisation_calls_per_second.map(u64::from)),
        (LimitKind::RequestsPerSecond, None, Some(u64::from(most.requests_per_second)).filter(|most| *most > 0)),
    ];
    let is_limit = |(_, used, allowed): &(LimitKind, Option<u64>, Option<u64>)| used.is_some() || allowed.is_some();
    limits.extend(of_process.into_iter().filter(is_limit).map(|(kind, used, allowed)| LimitInUse {
        kind,
        subject: None,
        organisation: None,
        used,
        allowed,
    }));
    limits
}

fn of_party(told: &Told, party: &Party) -> Vec<LimitInUse> {
    let (name, quota) = (&*party.name, &party.quota);
    let limit = |kind, subject: String, used: Option<u32>, allowed: Option<u32>| LimitInUse {
        kind,
        subject: Some(subject),
        organisation: None,
        used: used.map(u64::from),
        allowed: allowed.map(u64::from),
    };
    let used = |subject| Some(told.counts.used(subject));
    let own = || name.to_owned();
    let rate = |kind| quota.calls_per_second.map(|most| limit(kind, own(), None, Some(most)));
    let mut limits = Vec::new();
    match party.role {
        Role::Trunk => {
            limits.push(limit(LimitKind::TrunkChannels, own(), used(Subject::Trunk(name)), quota.max_channels));
            if quota.prod_reserve > 0 {
                let allowed = quota.max_channels.map(|most| most.saturating_sub(quota.prod_reserve));
                limits.push(limit(LimitKind::NotProdChannels, own(), used(Subject::NotProd(name)), allowed));
            }
            for (peer, most) in party.peers.iter().zip(&quota.gateway_channels).filter(|(_, most)| **most > 0) {
                let used = used(Subject::Gateway(name, peer.address));
                limits.push(limit(LimitKind::GatewayChannels, format!("{name} {peer}"), used, Some(*most)));
            }
            limits.extend(rate(LimitKind::TrunkCallsPerSecond));
        }
        Role::Environment(_) => {
            let used = used(Subject::Environment(name));
            limits.push(limit(LimitKind::EnvironmentChannels, own(), used, quota.max_channels));
            limits.extend(rate(LimitKind::EnvironmentCallsPerSecond));
            let daily = quota.daily_calls.map(|most| limit(LimitKind::EnvironmentDailyCalls, own(), None, Some(most)));
            limits.extend(daily);
        }
    }
    limits
}

/// Those that have calls: a look at each row that has a limit.
fn of_rows<'d>(told: &'d Told, directory: &'d Directory) -> impl Iterator<Item = LimitInUse> + 'd {
    let dids = directory.dids().filter(|did| did.call_limit() > 0).map(|did| LimitInUse {
        kind: LimitKind::DidCalls,
        subject: Some(format!("+{}", did.number)),
        organisation: None,
        used: Some(u64::from(told.counts.used(Subject::Did(did.number)))),
        allowed: Some(u64::from(did.call_limit())),
    });
    let organisations = directory.organisations().map(|own| LimitInUse {
        kind: LimitKind::OrganisationCalls,
        subject: Some(own.uuid.to_owned()),
        organisation: Some(OrganisationName { id: own.uuid.to_owned(), name: own.name.to_owned() }),
        used: Some(u64::from(told.counts.used(Subject::Organisation(own.uuid.as_bytes())))),
        allowed: own.limits.concurrent_calls.map(u64::from),
    });
    dids.chain(organisations).filter(|limit| limit.used > Some(0))
}
