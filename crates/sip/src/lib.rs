//! What is on the wire: scans what arrived, splices what leaves. No I/O, clock, randomness or policy.

mod edit;
mod escape;
mod name_addr;
mod number;
mod span;
mod uri;

pub use edit::{Disordered, Splice};
pub use name_addr::{HeaderParam, NameAddr, NameAddrFault};
pub use number::{Form, Number, NumberFault, Numbering};
pub use span::Span;
pub use uri::{Param, Scheme, Uri, UriFault, decode_user};
