//! The sockets against real peers of libzmq (`libzmq`), and against peers that do everything wrong
//! or say nothing (`faults`, in paused time).

mod actors;
mod faults;
mod libzmq;
