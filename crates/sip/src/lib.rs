//! What is on the wire: scans what arrived, splices what leaves. No I/O, clock, randomness or policy.

mod address;
mod bytes;
mod cseq;
mod edit;
mod error;
mod escape;
mod header;
mod host;
pub mod limits;
mod list;
mod message;
mod method;
mod name_addr;
mod number;
mod param;
mod parse;
mod scan;
mod span;
mod start;
mod uri;
mod via;

pub use cseq::CSeq;
pub use edit::{Disordered, Splice};
pub use error::{Fault, Hopeless};
pub use header::{Header, Name};
pub use list::{Item, List};
pub use message::{Answerable, Index, Message, Parsed, Request, Response};
pub use method::Method;
pub use name_addr::{HeaderParam, NameAddr, NameAddrFault};
pub use number::{Form, Number, NumberFault, Numbering};
pub use parse::{parse, parse_framed};
pub use span::Span;
pub use uri::{Param, Scheme, Uri, UriFault, decode_user};
pub use via::{Rport, Via};
