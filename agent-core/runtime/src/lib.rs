//! A worker's side of the agent: the loop around the engine, the calls to AM, the lease.
//!
//! The engine decides; this crate gets what it needs. It owns every wait, socket, clock and file.

mod agent;
pub mod am;
mod audit;
mod breaker;
pub mod client;
mod connect;
mod cut;
mod ended;
mod evaluate;
pub mod examine;
mod fetch;
mod first;
mod flights;
mod front;
mod kept;
mod keys;
mod known_good;
mod leader;
mod lines;
mod logfile;
mod logs;
mod memo;
mod memory;
mod meter;
mod metrics;
mod mode;
mod node;
mod notifications;
mod opened;
mod over;
mod posts;
mod published;
mod recording;
mod reload;
mod running;
mod sealed_file;
mod second;
mod state_files;
mod status;
mod ticket;
mod trace;
mod transaction;
mod unsent;
mod untold;
mod worker;

pub use agent::{AddError, Agent, Instance, MAX_INSTANCES, Start, built_in_scrubs};
pub use cut::Watch;
pub use evaluate::{Call, Host, Progress, Verdict, evaluate};
pub use logs::HostLog;
pub use meter::CallMeter;
pub use running::{Profile, Running, Unread, traces};
pub use ticket::{Ticket, Wants};
pub use trace::node_mark;
pub use worker::{StartError, WorkerOptions};
