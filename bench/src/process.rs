//! A server's processes: started on its cores, measured as one, killed with everything that they
//! have started.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::Result;
use crate::cpu;

const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

pub(crate) struct Process {
    child: Child,
    /// The child and its descendants, when they were last looked up.
    members: Vec<Pid>,
    log: PathBuf,
}

impl Process {
    /// Starts it on `cores`, with its output in the file `log`, and returns when all of
    /// `addresses` accept connections.
    pub(crate) fn start(
        mut command: Command,
        log: PathBuf,
        cores: &[usize],
        home: &[usize],
        addresses: &[SocketAddr],
    ) -> Result<Self> {
        let output = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        cpu::pin(cores)?;
        let child = command.spawn();
        cpu::pin(home)?;
        let child =
            child.map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        let mut process = Self { child, members: Vec::new(), log };
        let began = Instant::now();
        for address in addresses {
            while TcpStream::connect(address).is_err() {
                process.check()?;
                if began.elapsed() > PATIENCE {
                    let last = process.last_words();
                    return Err(format!("does not listen on {address}; {last}").into());
                }
                // Nothing tells when another program listens: it is asked now and then.
                std::thread::sleep(PAUSE);
            }
        }
        process.find_members()?;
        Ok(process)
    }

    /// An error if it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let how = match status.signal() {
            Some(signal) => format!("signal {signal}"),
            None => format!("status {}", status.code().unwrap_or_default()),
        };
        Err(format!("the server has ended with {how}").into())
    }

    /// Looks up which processes belong to it by now: some start others late.
    pub(crate) fn find_members(&mut self) -> Result<()> {
        self.members = descendants(self.root())?;
        Ok(())
    }

    /// Processor time of all its processes so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        self.members.iter().map(|member| cpu::used_by(*member)).sum()
    }

    /// Memory of its own that it uses, in bytes: anonymous pages and those shared between its
    /// processes. What the kernel keeps for its sockets is not in it.
    pub(crate) fn memory(&self) -> Result<u64> {
        Ok(self.status("RssAnon:")? + self.status("RssShmem:")?)
    }

    /// The most memory that it has used so far, in bytes, with pages of files.
    pub(crate) fn peak_memory(&self) -> Result<u64> {
        self.status("VmHWM:")
    }

    /// Of the one that was started.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The last line of its output.
    pub(crate) fn last_words(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        match log.lines().rev().find(|line| !line.trim().is_empty()) {
            Some(line) => format!("its log ends: {}", line.trim().replace('\t', " ")),
            None => "its log is empty".to_owned(),
        }
    }

    fn root(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    fn status(&self, field: &str) -> Result<u64> {
        let mut bytes = 0;
        for member in &self.members {
            let path = format!("/proc/{member}/status");
            let status =
                std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
            let kibibytes = status
                .lines()
                .find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB"))
                .ok_or_else(|| format!("{path} has no {field} in kB"))?;
            bytes += kibibytes.parse::<u64>()? * 1024;
        }
        Ok(bytes)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Some servers give their processes groups of their own. What has ended by now need not be
        // ended.
        let family = descendants(self.root()).unwrap_or_else(|_| self.members.clone());
        for member in family {
            let _ = kill(member, Signal::SIGKILL);
        }
        let _ = killpg(self.root(), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// A process and all that it has started, directly or not.
fn descendants(root: Pid) -> Result<Vec<Pid>> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that has ended meanwhile is none of the server's.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{id}/stat")) else { continue };
        // The name before it may contain anything, parentheses too.
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split(' ').nth(2));
        if let Some(parent) = parent.and_then(|parent| parent.parse().ok()) {
            parents.push((Pid::from_raw(id), Pid::from_raw(parent)));
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|pair| pair.1 == parent).map(|pair| pair.0));
        next += 1;
    }
    Ok(found)
}
