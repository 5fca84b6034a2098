//! Real servers, changed by other connections while the writer looks at them.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure of the bench fails the test"
)]

mod bench;
mod detection;
mod examine;
mod faults;
mod hanging;
mod reading;
mod rights;
mod server;
mod stream;
mod torn;
mod writes;
#[path = "../writes/body.rs"]
#[allow(dead_code, reason = "shared with the tests on SQLite, whose columns take any text")]
mod writes_body;
