//! The numbers on the core's tables. docs/reference/limits.md lists them.

/// Open transactions of one worker, unless the configuration says otherwise.
pub const TRANSACTIONS: usize = 2_000_000;
/// Bytes that the open transactions of one worker hold, unless the configuration says otherwise.
pub const TRANSACTION_BYTES: usize = 1 << 30;
/// Attempts (branches) of one transaction: targets that one request may be tried at.
pub const ATTEMPTS: usize = 8;
/// Bytes of a dialog token in a Record-Route's user part.
pub const TOKEN_BYTES: usize = 512;
/// Record-Route values of ours that one request may carry on top (RFC 5658 needs two).
pub const OWN_ROUTES: usize = 2;
/// Steps of one decision's trace.
pub const TRACE_STEPS: usize = 16;
/// Retry-After that is believed of a peer, in seconds.
pub const PEER_RETRY_AFTER_SECS: u32 = 300;
/// Peers whose failed calls in a row are counted at one time: more than a configuration can have.
pub const STRAINED_PEERS: usize = 256;
/// Bytes of a request to a peer of transport `auto` that still go by datagram, unless the configuration says otherwise
/// (RFC 3261 18.1.1).
pub const BY_DATAGRAM_BYTES: usize = 1_300;
/// How long a peer that takes no stream gets everything by datagram, in seconds.
pub const STREAMLESS_SECS: u64 = 60;
/// Peers that take no stream at one time.
pub const STREAMLESS: usize = 64;
/// Bytes of each of the caller's two names (display name and URI) that a dialog token carries.
pub const NAME_BYTES: usize = 200;
/// Steps of one identity decision's trace.
pub const IDENTITY_STEPS: usize = 16;
/// Keys that signed before, whose transactions may still be open: changes of the ring within a transaction's life.
pub const FORMER_KEYS: usize = 8;
/// Bytes of each text that a call in progress keeps: its Call-ID, the two numbers and the organisation's id.
pub const CALL_TEXT_BYTES: usize = 256;
/// Trunks, environments and gateways that calls are counted for: more than a configuration can have.
pub const COUNTED_PARTIES: usize = 1_024;
/// DIDs and organisations that calls are counted for at one time, with those that had one lately.
pub const COUNTED_SUBJECTS: usize = 65_536;
/// How long a call is counted that nobody ends, in seconds, unless the configuration says otherwise.
pub const CALL_AGE_SECS: u32 = 14_400;
