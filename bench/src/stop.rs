//! Ctrl-C and SIGTERM: a wish to stop, which is looked at wherever something is waited for, so that
//! servers and directories are cleaned up on the way out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::Result;

#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Set by the signals from now on.
    pub(crate) fn by_signals() -> Result<Self> {
        let stop = Self::default();
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, stop.0.clone())?;
        }
        Ok(stop)
    }

    pub(crate) fn wished(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error once the wish was uttered.
    pub(crate) fn check(&self) -> Result<()> {
        if self.wished() { Err("stopped".into()) } else { Ok(()) }
    }
}
