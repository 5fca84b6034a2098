//! What is on the wire: scans what arrived, splices what leaves. No I/O, clock, randomness or policy.
//!
//! A tour:
//! - [`parse`] reads a datagram, [`Framer`] and [`parse_framed`] a stream. There are three answers ([`Parsed`]): a message,
//!   a [`Fault`] that its sender can be told, or noise ([`Hopeless`]). Nothing is copied: a [`Message`] is a table of places
//!   ([`Span`]) in the bytes that arrived.
//! - [`Via`], [`CSeq`], [`Uri`], [`NameAddr`] and [`Number`] give those places a meaning; [`List`] walks comma-separated
//!   headers.
//! - [`Splice`] writes the same bytes with edits, and every byte that is not edited leaves as it came. [`Reply`] answers a
//!   request from the request's own bytes.
//! - [`limits`] says how much of anything a message may hold. Work grows with the bytes and not faster.
//!
//! ```
//! let datagram = b"OPTIONS sip:10.10.10.1 SIP/2.0\r\n\
//!     Via: SIP/2.0/UDP 10.10.10.2:5060;branch=z9hG4bK1;rport\r\n\
//!     From: <sip:ping@10.10.10.2>;tag=1\r\nTo: <sip:10.10.10.1>\r\n\
//!     Call-ID: 1@10.10.10.2\r\nCSeq: 7 OPTIONS\r\nContent-Length: 0\r\n\r\n";
//! let mut index = sip::Index::new();
//! let sip::Parsed::Request(request) = sip::parse(datagram, &mut index) else { panic!("a sound request") };
//! assert_eq!(request.method(), sip::Method::Options);
//! assert_eq!(request.via().port, Some(5060));
//! assert_eq!(request.cseq().number, 7);
//! ```

mod address;
mod bytes;
mod cseq;
mod edit;
mod error;
mod escape;
mod framing;
mod header;
mod host;
mod lanes;
pub mod limits;
mod list;
mod message;
mod method;
mod name_addr;
mod number;
mod param;
mod parse;
mod reply;
mod scan;
mod span;
mod start;
mod uri;
mod via;
mod written;

pub use cseq::CSeq;
pub use edit::{Disordered, Splice};
pub use error::{Fault, Hopeless};
pub use framing::{CloseReason, Frame, Framer, FramingLimits};
pub use header::{Header, Name};
pub use list::{Item, List};
pub use message::{Answerable, Index, Message, Parsed, Request, Response};
pub use method::Method;
pub use name_addr::{HeaderParam, NameAddr, NameAddrFault};
pub use number::{Form, Number, NumberFault, Numbering};
pub use parse::{parse, parse_framed};
pub use reply::{Reply, reason_phrase, write_via_with_source};
pub use span::Span;
pub use uri::{Param, Scheme, Uri, UriFault, decode_user, host_ip};
pub use via::{Rport, Via};
pub use written::{write_address, write_ip, write_number};
