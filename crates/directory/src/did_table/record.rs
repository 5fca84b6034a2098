//! What the table holds about one row.

use crate::row_key::RowKey;
use crate::words::{Environment, PoolStatus, Status, Words};

/// What a lookup needs of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct DidFields {
    /// The organisation's place plus one; 0 for none.
    pub(crate) organisation: u32,
    /// 0 for no limit.
    pub(crate) call_limit: u32,
    /// The provider's place plus one; 0 for none.
    pub(crate) provider: u16,
    pub(crate) marks: Marks,
}

/// A whole row: what a lookup needs of it, and which row it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct DidRecord {
    pub(crate) key: RowKey,
    pub(crate) updated_at_s: u32,
    pub(crate) fields: DidFields,
}

impl DidFields {
    /// The place of the organisation that the row names, whether that is known or not.
    pub(crate) fn place(&self) -> Option<u32> {
        self.organisation.checked_sub(1)
    }
}

/// The words and the flags of a record in one byte: two bits each for environment, status and pool status, then
/// `is_default` and `kept_last_good`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Marks(pub(crate) u8);

impl Marks {
    const IS_DEFAULT: u8 = 1 << 6;
    const KEPT_LAST_GOOD: u8 = 1 << 7;

    pub(crate) fn new(environment: Environment, status: Status, pool_status: PoolStatus, is_default: bool) -> Marks {
        let words = environment as u8 | (status as u8) << 2 | (pool_status as u8) << 4;
        Marks(words | if is_default { Marks::IS_DEFAULT } else { 0 })
    }

    pub(crate) fn kept(self) -> Marks {
        Marks(self.0 | Marks::KEPT_LAST_GOOD)
    }

    #[inline]
    pub(crate) fn environment(self) -> Environment {
        const ENVIRONMENTS: [Environment; 4] =
            [Environment::Prod, Environment::Staging, Environment::Oss, Environment::Prod];
        ENVIRONMENTS.get(usize::from(self.0 & 3)).copied().unwrap_or(Environment::Prod)
    }

    /// How many there are.
    pub(crate) const COMBINATIONS: usize = 1 << u8::BITS;

    pub(crate) fn status(self) -> Status {
        Status::from_bits(self.0 >> 2 & 3).unwrap_or(Status::Inactive)
    }

    pub(crate) fn pool_status(self) -> PoolStatus {
        PoolStatus::from_bits(self.0 >> 4 & 3).unwrap_or(PoolStatus::Available)
    }

    pub(crate) fn is_default(self) -> bool {
        self.0 & Marks::IS_DEFAULT != 0
    }

    pub(crate) fn is_kept(self) -> bool {
        self.0 & Marks::KEPT_LAST_GOOD != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_hold_every_combination() {
        for &environment in Environment::ALL {
            for &status in Status::ALL {
                for &pool_status in PoolStatus::ALL {
                    let marks = Marks::new(environment, status, pool_status, false);
                    assert_eq!(
                        (marks.environment(), marks.status(), marks.pool_status()),
                        (environment, status, pool_status)
                    );
                    assert!(!marks.is_default() && !marks.is_kept() && marks.kept().is_kept());
                    assert!(Marks::new(environment, status, pool_status, true).is_default());
                }
            }
        }
    }
}
