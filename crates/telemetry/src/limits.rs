//! The numbers on what is kept of calls. docs/reference/limits.md says what happens when each is reached.

/// Batches that wait between one worker and the thread that assembles records.
pub const BATCHES: usize = 1_024;
/// Bytes of messages with which a worker hands its batch over at once.
pub const HELD_BYTES: usize = 131_072;
/// Milliseconds for which the turns of a worker share a batch that is smaller, while the one before waits.
pub const HELD_FOR_MS: u64 = 10;
/// Bytes of the batches that wait there.
pub const WAITING_BYTES: usize = 33_554_432;
/// Batches that wait to be filled again.
pub const SPARE_BATCHES: usize = 16;
/// Bytes of messages that one batch carries; what is beyond is left out of the journal, the record stays whole.
pub const BATCH_BYTES: usize = 1_048_576;
/// Records of calls that have not ended.
pub const OPEN_RECORDS: usize = 100_000;
/// Messages that the journal keeps of one call.
pub const CALL_MESSAGES: usize = 512;
/// Bytes of messages that the journal keeps of one call.
pub const CALL_BYTES: usize = 262_144;
/// Bytes of a block of messages: one large page, where the kernel has such. It is given with one fault, where small ones take 512.
pub const BLOCK_BYTES: usize = 2_097_152;
/// Room in these blocks that no kept call needs, beside half as much as the kept calls need.
pub const ROOM_BYTES: usize = 8_388_608;
/// Records that wait for one sink.
pub const SINK_QUEUE: usize = 65_536;
/// Records that a sink is given at a time.
pub const SINK_BATCH: usize = 512;
/// Those who are told of each call that is over, at one time.
pub const FOLLOWERS: usize = 32;
/// Stray media addresses that a record names.
pub const STRAY_MEDIA: usize = 8;
