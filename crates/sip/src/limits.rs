//! How much of anything one message may hold. A request beyond a limit is refused with a status that says which one,
//! a response beyond it is dropped.

/// Bytes of one message, start line to end of body: the largest datagram there is (RFC 3261 18.1.1).
pub const MESSAGE_BYTES: usize = 65_535;

/// Header lines of one message.
pub const HEADERS: usize = 256;

/// Via entries of one message, over all its lines: as many hops as Max-Forwards grants by default.
pub const VIAS: usize = 70;

/// Route entries, and as many Record-Route entries, over all the lines of their name.
pub const ROUTES: usize = 32;

/// Bytes of the start line, and of one header with its folds, each with its CRLF. The body is exempt.
pub const LINE_BYTES: usize = 8_192;

/// The largest Max-Forwards (RFC 3261 20.22).
pub const MAX_FORWARDS: u32 = 255;

/// CSeq numbers are below this one (RFC 3261 8.1.1.5).
pub const CSEQ_NUMBER: u32 = 1 << 31;
