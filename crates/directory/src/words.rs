//! The words that a column may hold, each set a type of its own.

use std::fmt;
use std::str::FromStr;

/// A word that is not one of those expected. Displays as what was expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownWord {
    /// The words that would have been good.
    pub expected: &'static str,
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", self.expected)
    }
}

impl std::error::Error for UnknownWord {}

/// A set of words read from a column.
pub(crate) trait Words: Sized + Copy + 'static {
    /// The words, for a report.
    const EXPECTED: &'static str;
    /// The value for a word; white space around it and ASCII case count for nothing.
    fn read(text: &str) -> Option<Self>;
    /// The value whose discriminant this is.
    fn from_bits(bits: u8) -> Option<Self>;
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $expected:literal, { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The word as it stands in the database, in lower case.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                Words::read(text).ok_or(UnknownWord { expected: $expected })
            }
        }

        impl Words for $name {
            const EXPECTED: &'static str = $expected;

            fn read(text: &str) -> Option<Self> {
                let word = text.trim();
                $name::ALL.iter().copied().find(|value| value.as_str().eq_ignore_ascii_case(word))
            }

            fn from_bits(bits: u8) -> Option<Self> {
                $name::ALL.get(usize::from(bits)).copied()
            }
        }
    };
}

words! {
    /// Where a DID's calls land.
    Environment, "prod, staging or oss", {
        /// The production PBX.
        Prod = "prod",
        /// The staging PBX, a full clone of production.
        Staging = "staging",
        /// The open-source PBX.
        Oss = "oss",
    }
}

words! {
    /// `did_numbers.status`: the carrier's side of a DID.
    Status, "active, inactive, ported or suspended", {
        /// The carrier delivers it.
        Active = "active",
        /// Switched off.
        Inactive = "inactive",
        /// Taken to another carrier.
        Ported = "ported",
        /// Switched off for a while.
        Suspended = "suspended",
    }
}

words! {
    /// `did_numbers.pool_status`: whether a DID has been handed out.
    PoolStatus, "available, pending, assigned or reserved", {
        /// Free to be handed out.
        Available = "available",
        /// Asked for.
        Pending = "pending",
        /// Handed out to an organisation.
        Assigned = "assigned",
        /// Kept back.
        Reserved = "reserved",
    }
}

words! {
    /// `organizations.status`.
    OrganisationStatus, "active, suspended or deleted", {
        /// In service.
        Active = "active",
        /// Out of service for a while.
        Suspended = "suspended",
        /// Gone, its row kept.
        Deleted = "deleted",
    }
}

words! {
    /// `users.status`, and `sip_trunks.status`.
    UserStatus, "active or inactive", {
        /// In service.
        Active = "active",
        /// Out of service.
        Inactive = "inactive",
    }
}

words! {
    /// `sip_trunks.transport`.
    Transport, "udp, tcp or tls", {
        /// UDP.
        Udp = "udp",
        /// TCP.
        Tcp = "tcp",
        /// TLS over TCP.
        Tls = "tls",
    }
}

/// A set of pool states.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolStates {
    bits: u8,
}

impl Default for PoolStates {
    /// Only `assigned`.
    fn default() -> Self {
        PoolStates::new(&[PoolStatus::Assigned])
    }
}

impl PoolStates {
    /// The set of these states.
    pub fn new(states: &[PoolStatus]) -> PoolStates {
        PoolStates { bits: states.iter().fold(0, |bits, &state| bits | 1 << state as u8) }
    }

    /// Whether the state is in the set.
    pub const fn contains(self, state: PoolStatus) -> bool {
        self.bits & 1 << state as u8 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_read_whatever_its_case_and_the_space_around_it() {
        for text in ["prod", "PROD", " Prod\n"] {
            assert_eq!(text.parse(), Ok(Environment::Prod), "{text:?}");
        }
        for text in ["", "production", "pro d", "pr\u{f6}d"] {
            let fault = text.parse::<Environment>().unwrap_err();
            assert_eq!(fault.to_string(), "expected prod, staging or oss", "{text:?}");
        }
    }

    #[test]
    fn every_word_is_read_back() {
        for &environment in Environment::ALL {
            assert_eq!(environment.as_str().parse(), Ok(environment));
            assert_eq!(Environment::from_bits(environment as u8), Some(environment));
        }
        for &state in PoolStatus::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        for &status in Status::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
        }
    }

    #[test]
    fn a_set_of_pool_states_holds_what_it_was_given() {
        let states = PoolStates::new(&[PoolStatus::Assigned, PoolStatus::Reserved]);
        let held: Vec<PoolStatus> = PoolStatus::ALL.iter().copied().filter(|&state| states.contains(state)).collect();
        assert_eq!(held, [PoolStatus::Assigned, PoolStatus::Reserved]);
        assert!(PoolStates::default().contains(PoolStatus::Assigned));
        assert!(!PoolStates::default().contains(PoolStatus::Available));
    }
}
