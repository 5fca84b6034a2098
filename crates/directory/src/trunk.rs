//! An organisation's peerings, kept to be shown and checked; no call is routed by them.

use crate::row_key::RowKey;
use crate::words::{Transport, UserStatus};

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TrunkRecord {
    pub(crate) key: RowKey,
    pub(crate) id: Box<str>,
    /// The place of the organisation that the row names.
    pub(crate) organisation: Option<u32>,
    pub(crate) name: Box<str>,
    pub(crate) host: Box<str>,
    pub(crate) port: u16,
    pub(crate) transport: Transport,
    pub(crate) status: UserStatus,
}
