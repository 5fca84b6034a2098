//! How many calls at one time everybody may have in one seed.

use crate::chance::Chance;
use crate::stage::TRUNK;
use proxy::settings::Quota;
use proxy::{Party, Role};

/// The limits of one seed; `None` is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quotas {
    /// Each DID.
    pub(crate) did: Option<u32>,
    /// Each organisation.
    pub(crate) organisation: Option<u32>,
    /// Prod, staging and oss.
    pub(crate) environments: [Option<u32>; 3],
    /// The trunk.
    pub(crate) trunk: Option<u32>,
    /// So many of the trunk's are for prod alone.
    pub(crate) reserve: u32,
    /// Each gateway.
    pub(crate) gateway: Option<u32>,
}

/// Mixed into the seed: limits are drawn beside everything else, so that a world without them stays as it was.
const BESIDE: u64 = 0x005E_A75C_0047_ED00;

impl Quotas {
    /// The limits of a seed: none in half of them, else so few that they are reached.
    pub(crate) fn of(seed: u64) -> Quotas {
        let chance = &mut Chance::new(seed ^ BESIDE);
        if chance.percent(50) {
            return Quotas::default();
        }
        let mut few = |percent: u64, from: u64, to: u64| {
            let most = from + chance.below(to - from + 1);
            chance.percent(percent).then_some(u32::try_from(most).unwrap_or(1))
        };
        let (did, organisation, gateway) = (few(40, 1, 2), few(40, 1, 4), few(40, 1, 3));
        let environments = [few(30, 1, 3), few(30, 0, 2), few(30, 1, 2)];
        let trunk = few(60, 2, 5);
        let reserve = few(50, 1, 2).filter(|reserve| trunk.is_some_and(|trunk| trunk >= *reserve)).unwrap_or(0);
        Quotas { did, organisation, environments, trunk, reserve, gateway }
    }

    /// One call more for everybody: what a proxy that counts wrong would allow.
    pub(crate) fn exceeded(&self) -> Quotas {
        let more = |most: Option<u32>| most.map(|most| most + 1);
        Quotas {
            did: more(self.did),
            organisation: more(self.organisation),
            environments: self.environments.map(more),
            trunk: more(self.trunk),
            reserve: self.reserve,
            gateway: more(self.gateway),
        }
    }

    /// What of the trunk's is not prod's alone.
    pub(crate) fn not_prod(&self) -> Option<u32> {
        self.trunk.map(|most| most.saturating_sub(self.reserve)).filter(|_| self.reserve > 0)
    }

    /// How many calls a party may have.
    pub(crate) fn of_party(&self, party: u16) -> Option<u32> {
        match usize::from(party - TRUNK.0) {
            0 => self.trunk,
            at => self.environments.get(at - 1).copied().flatten(),
        }
    }

    /// Writes them into the parties' settings.
    pub(crate) fn set(&self, parties: &mut [Party]) {
        for (party, at) in parties.iter_mut().zip(0..) {
            let max_channels = self.of_party(at);
            party.quota = match party.role {
                Role::Trunk => Quota {
                    max_channels,
                    prod_reserve: self.reserve,
                    gateway_channels: self.gateway.map_or_else(Vec::new, |most| vec![most; party.peers.len()]),
                    ..Quota::default()
                },
                Role::Environment(_) => Quota { max_channels, ..Quota::default() },
            };
        }
    }
}
