//! The numbers on what a configuration may hold. docs/reference/limits.md lists them.

/// Bytes of a configuration file.
pub const FILE_BYTES: u64 = 1_048_576;
/// Faults reported of one file.
pub const FAULTS: usize = 100;
/// Listeners of one instance.
pub const LISTENERS: usize = 16;
/// Workers of one instance.
pub const WORKERS: std::ops::RangeInclusive<u16> = 1..=64;
/// Trunks of one instance.
pub const TRUNKS: usize = 16;
/// Sources of one trunk or environment.
pub const SOURCES: usize = 64;
/// Addresses of one host name.
pub const ADDRESSES: usize = 32;
/// Networks that the media of one trunk or environment may be in.
pub const MEDIA_NETWORKS: usize = 64;
/// Bytes of a trunk's name.
pub const NAME_BYTES: usize = 32;
/// Bytes of an interface's name (Linux: IFNAMSIZ without its final zero).
pub const INTERFACE_BYTES: usize = 15;
/// Bytes of the name of the header in which a PBX names the calling endpoint.
pub const HEADER_BYTES: usize = 64;
/// Emergency and short numbers.
pub const EMERGENCY: usize = 64;
/// Bytes of an identity profile's domain: both names of a caller must fit into a dialog token.
pub const DOMAIN_BYTES: usize = 80;
/// Providers of one trunk, or organisations of one environment.
pub const NAMES: usize = 256;
/// Prefixes of numbers that one environment may call.
pub const DESTINATIONS: usize = 256;
/// Keys of a ring, the active one among them.
pub const KEYS: usize = 16;
/// The least that a key `datagram_bytes_max` may say.
pub const DATAGRAM_BYTES_MIN: usize = 512;
/// The most that a key `datagram_bytes_max` may say: the payload of the largest IPv4 datagram.
pub const DATAGRAM_BYTES_MAX: usize = 65_507;
/// The least that the key `limits.transactions` may say.
pub const TRANSACTIONS_MIN: usize = 100;
/// The most that the key `limits.transactions` may say.
pub const TRANSACTIONS_MAX: usize = 16_000_000;
/// Host names of the admin listener.
pub const ADMIN_HOSTS: usize = 16;
/// E-mail addresses and domains that have a role.
pub const ADMIN_ROLES: usize = 1_000;
/// The least that the key `limits.transaction_bytes` may say.
pub const TRANSACTION_BYTES_MIN: usize = 1 << 20;
/// The most that the key `limits.transaction_bytes` may say.
pub const TRANSACTION_BYTES_MAX: usize = 1 << 40;
/// The most that the key `limits.requests_per_second` may say.
pub const REQUESTS_PER_SECOND_MAX: u32 = 1_000_000;
/// Bytes at which a file of call records is set aside.
pub const RECORD_FILE_BYTES: std::ops::RangeInclusive<u64> = 65_536..=17_179_869_184;
/// Files of call records that are kept.
pub const RECORD_FILES: std::ops::RangeInclusive<usize> = 1..=10_000;
/// Bytes of call records that wait for the webhook on disk.
pub const WEBHOOK_SPOOL_BYTES: std::ops::RangeInclusive<u64> = 4_194_304..=17_179_869_184;
/// Calls that the journal holds.
pub const JOURNAL_CALLS: std::ops::RangeInclusive<usize> = 10..=1_000_000;
/// Bytes that the journal takes.
pub const JOURNAL_BYTES: std::ops::RangeInclusive<usize> = 1_048_576..=8_589_934_592;
