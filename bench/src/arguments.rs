//! The command line: which servers, which scenarios, which numbers.

use std::path::PathBuf;

use crate::Result;

pub(crate) const USAGE: &str = "\
usage: bench [OPTION...]
       bench instructions [--help | OPTION...]
  --server NAME[=PROGRAM]  measure this server; repeat it for several (all that are
                           installed, but nats-ws and mosquitto-ws)
  --scenario NAME          measure this: idle, connect, fanout, unicast, receive, stuck, scale,
                           proxy, bridge; repeat it for several (all)
  --quick                  small numbers, one round: to see that everything works
  --rounds N               measure so often and show the median (3);
                           idle, stuck, scale and slow downloads once
  --size BYTES             of a message, at least 8 (128)
  --sessions N,N           fanout: to so many sessions (1000,10000)
  --streams N,N            fanout stream: from so many posters at a time (1,8)
  --deliveries N           fanout: messages that arrive (400000)
  --sends N                unicast: posts (60000)
  --posters N              unicast: connections that post (64)
  --recipients N           unicast: sessions that are posted to (1000)
  --callbacks N            receive: messages (60000)
  --senders N              receive: clients that send them (64)
  --handshakes N           connect: connections opened and closed (20000)
  --connections N,N        idle: connections that are held (10000,19000)
  --settle MS              idle: memory has not changed for so long (12000)
  --stuck-sessions N       stuck: sessions, of which a tenth never reads (1000)
  --stuck-posts N          stuck: posts (1000)
  --stuck-size BYTES       stuck: of a message (4096)
  --scale N,N,N            scale: connections (1000,5000,19000)
  --requests N             proxy: requests (100000)
  --requesters N           proxy: connections that make them (64)
  --download BYTES         proxy: of the download that is alone (50000000)
  --slow-download BYTES    proxy: of each that is read slowly (20000000)
  --slow-downloads N       proxy: how many are read slowly (100)
  --bridge-clients N,N     bridge: clients (1,100)
  --bridge-sizes N,N       bridge: bytes of a message (100,1024)
  --bridge-deliveries N    bridge: messages that arrive (2000000)
  --commands N             bridge: commands (60000)
  --time SECONDS           measure no longer than this at a time, what a slow server does by then (3)
  --patience SECONDS       a server that does nothing for so long has stalled (10)
";

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// Empty: all that are installed.
    pub(crate) servers: Vec<(String, Option<PathBuf>)>,
    /// Empty: all.
    pub(crate) scenarios: Vec<String>,
    pub(crate) numbers: Numbers,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) rounds: usize,
    pub(crate) size: usize,
    pub(crate) sessions: Vec<usize>,
    pub(crate) streams: Vec<usize>,
    pub(crate) deliveries: usize,
    pub(crate) sends: usize,
    pub(crate) posters: usize,
    pub(crate) recipients: usize,
    pub(crate) callbacks: usize,
    pub(crate) senders: usize,
    pub(crate) handshakes: usize,
    pub(crate) connections: Vec<usize>,
    pub(crate) settle: usize,
    pub(crate) stuck_sessions: usize,
    pub(crate) stuck_posts: usize,
    pub(crate) stuck_size: usize,
    pub(crate) scale: Vec<usize>,
    pub(crate) requests: usize,
    pub(crate) requesters: usize,
    pub(crate) download: usize,
    pub(crate) slow_download: usize,
    pub(crate) slow_downloads: usize,
    pub(crate) bridge_clients: Vec<usize>,
    pub(crate) bridge_sizes: Vec<usize>,
    pub(crate) bridge_deliveries: usize,
    pub(crate) commands: usize,
    pub(crate) time: usize,
    pub(crate) patience: usize,
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            rounds: 3,
            size: 128,
            sessions: vec![1000, 10_000],
            streams: vec![1, 8],
            deliveries: 400_000,
            sends: 60_000,
            posters: 64,
            recipients: 1000,
            callbacks: 60_000,
            senders: 64,
            handshakes: 20_000,
            connections: vec![10_000, 19_000],
            settle: 12_000,
            stuck_sessions: 1000,
            stuck_posts: 1000,
            stuck_size: 4096,
            scale: vec![1000, 5000, 19_000],
            requests: 100_000,
            requesters: 64,
            download: 50_000_000,
            slow_download: 20_000_000,
            slow_downloads: 100,
            bridge_clients: vec![1, 100],
            bridge_sizes: vec![100, 1024],
            bridge_deliveries: 2_000_000,
            commands: 60_000,
            time: 3,
            patience: 10,
        }
    }
}

impl Numbers {
    fn quick() -> Self {
        Self {
            rounds: 1,
            time: 1,
            sessions: vec![1000],
            deliveries: 100_000,
            sends: 20_000,
            callbacks: 20_000,
            handshakes: 5000,
            connections: vec![2000],
            settle: 2000,
            stuck_posts: 200,
            scale: vec![1000, 5000],
            requests: 20_000,
            slow_downloads: 20,
            bridge_deliveries: 200_000,
            commands: 10_000,
            ..Self::default()
        }
    }
}

impl Arguments {
    /// An error says what is wrong and how it is meant.
    pub(crate) fn parse(words: &[String]) -> Result<Self> {
        let quick = words.iter().any(|word| word == "--quick");
        let mut numbers = if quick { Numbers::quick() } else { Numbers::default() };
        let (mut servers, mut scenarios) = (Vec::new(), Vec::new());
        let mut words = words.iter().filter(|word| *word != "--quick");
        while let Some(word) = words.next() {
            let (option, value) = match word.split_once('=') {
                Some((option, value)) => (option, Some(value)),
                None => (word.as_str(), None),
            };
            if !option.starts_with("--") {
                return Err(format!("{option} is no option\n{USAGE}").into());
            }
            if !USAGE.lines().any(|line| line.trim().starts_with(&format!("{option} "))) {
                return Err(format!("there is no option {option}\n{USAGE}").into());
            }
            let value = value.or_else(|| words.next().map(String::as_str));
            let value = value.ok_or_else(|| format!("{option} needs a value\n{USAGE}"))?;
            let name = option.trim_start_matches('-');
            match name {
                "server" => servers.push(match value.split_once('=') {
                    Some((name, program)) => (name.to_owned(), Some(PathBuf::from(program))),
                    None => (value.to_owned(), None),
                }),
                "scenario" => scenarios.push(value.to_owned()),
                "sessions" => numbers.sessions = list(option, value)?,
                "streams" => numbers.streams = list(option, value)?,
                "connections" => numbers.connections = list(option, value)?,
                "scale" => numbers.scale = list(option, value)?,
                "bridge-clients" => numbers.bridge_clients = list(option, value)?,
                "bridge-sizes" => numbers.bridge_sizes = list(option, value)?,
                _ => *numbers.one(name)? = number(option, value)?,
            }
        }
        if numbers.size < 8 || numbers.stuck_size < 8 {
            return Err("a message has at least 8 bytes".into());
        }
        Ok(Self { servers, scenarios, numbers })
    }
}

impl Numbers {
    fn one(&mut self, name: &str) -> Result<&mut usize> {
        Ok(match name {
            "rounds" => &mut self.rounds,
            "size" => &mut self.size,
            "deliveries" => &mut self.deliveries,
            "sends" => &mut self.sends,
            "posters" => &mut self.posters,
            "recipients" => &mut self.recipients,
            "callbacks" => &mut self.callbacks,
            "senders" => &mut self.senders,
            "handshakes" => &mut self.handshakes,
            "settle" => &mut self.settle,
            "stuck-sessions" => &mut self.stuck_sessions,
            "stuck-posts" => &mut self.stuck_posts,
            "stuck-size" => &mut self.stuck_size,
            "requests" => &mut self.requests,
            "requesters" => &mut self.requesters,
            "download" => &mut self.download,
            "slow-download" => &mut self.slow_download,
            "slow-downloads" => &mut self.slow_downloads,
            "bridge-deliveries" => &mut self.bridge_deliveries,
            "commands" => &mut self.commands,
            "time" => &mut self.time,
            "patience" => &mut self.patience,
            _ => return Err(format!("--{name} is not a number").into()),
        })
    }
}

fn number(option: &str, value: &str) -> Result<usize> {
    match value.replace('_', "").parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{option} {value}: a number from 1 upwards is meant").into()),
    }
}

fn list(option: &str, value: &str) -> Result<Vec<usize>> {
    value.split(',').map(|value| number(option, value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments> {
        Arguments::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn nothing_means_everything() {
        let all = Arguments { servers: vec![], scenarios: vec![], numbers: Numbers::default() };
        assert_eq!(parse("").unwrap(), all);
    }

    #[test]
    fn options_win_over_quick_wherever_they_stand() {
        let arguments = parse(
            "--sends 7 --quick --sessions 5,60_000 --server=ekbo=/bin/ekbo \
                               --server bare --scenario idle",
        )
        .unwrap();
        let numbers = Numbers { sends: 7, sessions: vec![5, 60_000], ..Numbers::quick() };
        let servers =
            vec![("ekbo".to_owned(), Some(PathBuf::from("/bin/ekbo"))), ("bare".to_owned(), None)];
        let scenarios = vec!["idle".to_owned()];
        assert_eq!(arguments, Arguments { servers, scenarios, numbers });
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, part) in [
            ("idle", "idle is no option"),
            ("--sendz 1", "there is no option --sendz"),
            ("--sends", "--sends needs a value"),
            ("--sends 0", "--sends 0: a number from 1 upwards"),
            ("--scale 5,x", "--scale x: a number"),
            ("--size 7", "at least 8 bytes"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn every_option_in_the_usage_is_one() {
        for line in USAGE.lines().filter_map(|line| line.trim().strip_prefix("--")) {
            let name = line.split(' ').next().unwrap();
            if name != "quick" {
                parse(&format!("--{name} 9")).unwrap();
            }
        }
    }
}
