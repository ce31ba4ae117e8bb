//! Processor time and processors: the clock of a process in nanoseconds, and what runs where.

use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use crate::Result;

/// Of /proc/stat, on every Linux.
const TICK_MS: u64 = 10;

/// What a process has used so far with all its threads, those that have ended included.
pub(crate) fn used_by(process: Pid) -> Result<Duration> {
    let clock = ClockId::pid_cpu_clock_id(process)
        .map_err(|error| format!("process {process} has no clock: {error}"))?;
    Ok(clock_gettime(clock)?.into())
}

/// What this process has used so far.
pub(crate) fn used_here() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}

/// What all processes have used of all processors since the system started.
pub(crate) fn used_by_all() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let fields = stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).unwrap_or_default();
    let ticks: Vec<u64> =
        fields.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>()?;
    // user, nice, system, idle, iowait, irq, softirq: all but the two that are none.
    let [user, nice, system, _, _, irq, softirq, ..] = ticks[..] else {
        return Err("/proc/stat does not begin with the use of all processors".into());
    };
    Ok(Duration::from_millis((user + nice + system + irq + softirq) * TICK_MS))
}

/// What the machine's processor calls itself.
pub(crate) fn model() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim().to_owned());
    name.unwrap_or_else(|| "unknown processor".to_owned())
}

/// Which processors are for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cores {
    all: Vec<usize>,
}

impl Cores {
    /// Those that this process may use.
    pub(crate) fn available() -> Result<Self> {
        let set = sched_getaffinity(Pid::from_raw(0))?;
        let all = (0..CpuSet::count()).filter(|core| set.is_set(*core) == Ok(true)).collect();
        Ok(Self { all })
    }

    /// The one on which a server runs alone.
    pub(crate) fn of_server(&self) -> &[usize] {
        &self.all[..1]
    }

    /// The one on which load is made; the server's, if there is no other.
    pub(crate) fn of_load(&self) -> &[usize] {
        &self.all[self.all.len() - 1..]
    }

    /// The first `count`.
    pub(crate) fn first(&self, count: usize) -> &[usize] {
        &self.all[..count.min(self.all.len())]
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }
}

/// Confines this thread, and the processes that it starts from now on, to some processors.
pub(crate) fn pin(cores: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core)?;
    }
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}
