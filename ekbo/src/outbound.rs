//! Connections from here to HTTP servers: where they lead to, how they are made, and which are kept
//! from one request to the next. What is asked on them is the rooms' business.

mod answer_head;
mod connector;
mod pool;
pub(crate) mod target;

pub(crate) use answer_head::{LongHead, PartialHead, WholeHead, parse};
#[cfg(test)]
pub(crate) use answer_head::{MAX_FIELDS, MAX_HEAD, USUAL_FIELDS};
pub(crate) use connector::{Connector, Socket, is_end_of_connection, is_out_of_descriptors};
pub(crate) use pool::{Keeping, Origin, Pool};
pub(crate) use target::{Address, Target};
