//! The program: the only place with sockets, threads, signals and `main`.
//!
//! A tour: [`cli`] is what can be asked, [`config`] what the file says and means, [`keys_file`] the secrets that
//! survive a restart. [`run`] keeps a [`service`] alive between signals; a service is a [`worker`] on its own thread with
//! its [`udp`] sockets, the [`tcp`] connections on another, and the directory's writer beside them; [`probe`] measures
//! the peers, [`call_journal`] tells the next process of the calls in progress. [`status`] asks the
//! running process, [`demo`] puts a service between simulated neighbours.

pub mod call_journal;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod keys_file;
pub mod logging;
mod memory;
mod names;
mod priority;
pub mod probe;
pub mod run;
pub mod service;
pub mod signals;
pub mod status;
pub mod supervisor;
pub mod tcp;
pub mod udp;
pub mod worker;
