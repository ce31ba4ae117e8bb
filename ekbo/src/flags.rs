//! The command line: a command, and flags as Go's `flag` package reads them.
//!
//! Parsing decides nothing but spelling; whether flags fit together and what they do to the
//! configuration is in `crate::config`. Nothing is printed here.

pub(crate) mod syntax;

use std::ffi::OsString;
use std::fmt::Write as _;

use thiserror::Error;

use self::syntax::{Given, Known, SyntaxError};
use crate::nearest::edit_distance;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invocation {
    pub(crate) command: Command,
    pub(crate) flags: Flags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Serve,
    Demo,
    Check,
    Config,
    /// Also for `-version`, which wins over every other command.
    Version,
    /// Also for `-h` and `-help`, which end the parsing.
    Help,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    pub(crate) config: Option<String>,
    pub(crate) log_level: LogLevel,
    /// A word given as level that is none; `log_level` is then `Info` (KB-CLI-7).
    pub(crate) unknown_log_level: Option<String>,
    pub(crate) port: Option<String>,
    pub(crate) sock: Option<String>,
    pub(crate) gops_addr: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LogLevel {
    Debug,
    #[default]
    Info,
    Warn,
    Error,
}

/// Why the command line is not understood: the lines for standard error, with the usage. The exit
/// status is 2.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum FlagError {
    #[error("{0}\n{usage}", usage = usage())]
    Syntax(#[from] SyntaxError),
    #[error("unknown command {word:?}; did you mean {nearest}?\n{usage}", usage = usage())]
    UnknownCommand { word: String, nearest: &'static str },
    #[error("the command {0} must come before the flags\n{usage}", usage = usage())]
    CommandAfterFlags(&'static str),
    #[error(
        "unexpected word {word:?} after the command {command}; a file is given with -config FILE\n\
         {usage}",
        usage = usage()
    )]
    UnexpectedWord { word: String, command: &'static str },
}

/// Command, name and what it does.
const COMMANDS: [(Command, &str, &str); 6] = [
    (Command::Serve, "serve", "run the gateway (what happens without a command, too)"),
    (
        Command::Demo,
        "demo",
        "run the gateway with a demonstration backend and a chat page (-port, -log-level)",
    ),
    (Command::Check, "check", "check the configuration; exit status 1 if something is wrong"),
    (Command::Config, "config", "print the effective configuration and where each value is from"),
    (Command::Version, "version", "print the version"),
    (Command::Help, "help", "print this help"),
];

#[derive(Clone, Copy)]
enum Flag {
    Config,
    LogLevel,
    Port,
    Sock,
    GopsAddr,
    Version,
}

const FLAGS: [Known<Flag>; 6] = [
    Known::new(
        Flag::Config,
        "config",
        "FILE",
        "configuration file (default config.yml, if there is one)",
    ),
    Known::new(Flag::LogLevel, "log-level", "LEVEL", "debug, info, warn or error (default info)"),
    Known::new(Flag::Port, "port", "PORT", "TCP port to listen on, instead of the configured one"),
    Known::new(Flag::Sock, "sock", "PATH", "unix socket to listen on, instead of any TCP port"),
    Known::new(Flag::GopsAddr, "gops-addr", "ADDRESS", "accepted and ignored"),
    Known::new(Flag::Version, "version", "", "print the version"),
];

/// KB-CLI-1: reads the arguments behind the program's name.
pub(crate) fn parse<I>(arguments: I) -> Result<Invocation, FlagError>
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    let text = |argument: I::Item| argument.into().to_string_lossy().into_owned();
    let mut arguments = arguments.into_iter().map(text).peekable();
    let mut flags = Flags::default();
    let first = arguments.next_if(|first| !first.starts_with('-'));
    let named = first.as_deref().map(command_named).transpose()?;
    let mut version = false;
    while let Some(given) = syntax::next(&mut arguments, &FLAGS)? {
        match given {
            Given::Text(flag, value) => flags.set(flag, value),
            // There is no other.
            Given::Boolean(_, value) => version = value,
            Given::Help => return Ok(Invocation { command: Command::Help, flags }),
        }
    }
    match arguments.next() {
        Some(word) if !version && word != "-" && word != "--" => return Err(stray(word, named)),
        _ => {}
    }
    let command = if version { Command::Version } else { named.unwrap_or(Command::Serve) };
    Ok(Invocation { command, flags })
}

/// How `ekbo` is called, without a closing line end.
pub(crate) fn usage() -> String {
    let mut text = String::from("Usage: ekbo [COMMAND] [FLAGS]\n\nCommands:\n");
    for (_, name, meaning) in COMMANDS {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name:<20}  {meaning}");
    }
    text + "\n" + &syntax::usage(&FLAGS)
}

impl Flags {
    /// The last occurrence of a repeated flag wins.
    fn set(&mut self, flag: Flag, value: String) {
        match flag {
            Flag::Config => self.config = Some(value),
            Flag::Port => self.port = Some(value),
            Flag::Sock => self.sock = Some(value),
            Flag::GopsAddr => self.gops_addr = Some(value),
            Flag::LogLevel => {
                let level = LogLevel::named(&value);
                self.log_level = level.unwrap_or_default();
                self.unknown_log_level = level.is_none().then_some(value);
            }
            Flag::Version => {}
        }
    }
}

impl LogLevel {
    fn named(word: &str) -> Option<Self> {
        Some(match word {
            "debug" => Self::Debug,
            "info" => Self::Info,
            "warn" => Self::Warn,
            "error" => Self::Error,
            _ => return None,
        })
    }
}

/// D12: a word that is no command is an error that names the nearest one.
fn command_named(word: &str) -> Result<Command, FlagError> {
    if let Some((command, ..)) = COMMANDS.iter().find(|(_, name, _)| *name == word) {
        return Ok(*command);
    }
    let nearest = COMMANDS.iter().map(|(_, name, _)| *name).min_by_key(|n| edit_distance(word, n));
    Err(FlagError::UnknownCommand { word: word.into(), nearest: nearest.unwrap_or("help") })
}

/// The error of a word behind flags or a command.
fn stray(word: String, command: Option<Command>) -> FlagError {
    let name = |wanted| COMMANDS.iter().find(|(command, ..)| *command == wanted);
    match (command.and_then(name), command_named(&word)) {
        (Some((_, command, _)), _) => FlagError::UnexpectedWord { word, command },
        (None, Ok(late)) => {
            FlagError::CommandAfterFlags(name(late).map_or("help", |entry| entry.1))
        }
        (None, Err(unknown)) => unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Invocation {
        parse(line.split_whitespace()).unwrap()
    }

    fn error(line: &str) -> FlagError {
        parse(line.split_whitespace()).unwrap_err()
    }

    fn command(line: &str) -> Command {
        parsed(line).command
    }

    /// KB-CLI-1: one dash or two, `=` or a blank.
    #[test]
    fn four_ways_to_write_a_flag() {
        for line in ["-config=x", "-config x", "--config=x", "--config x"] {
            let flags = Flags { config: Some("x".into()), ..Flags::default() };
            assert_eq!(parsed(line), Invocation { command: Command::Serve, flags }, "{line}");
        }
        assert_eq!(parsed("-config=a=b").flags.config.as_deref(), Some("a=b"));
        assert_eq!(parsed("-config=").flags.config.as_deref(), Some(""));
        assert_eq!(parsed("-config -port").flags.config.as_deref(), Some("-port"));
    }

    #[test]
    fn every_flag_is_kept() {
        let flags = parsed("-config c -log-level warn -port p -sock s -gops-addr g").flags;
        assert_eq!(
            flags,
            Flags {
                config: Some("c".into()),
                log_level: LogLevel::Warn,
                unknown_log_level: None,
                port: Some("p".into()),
                sock: Some("s".into()),
                gops_addr: Some("g".into()),
            }
        );
    }

    /// KB-CLI-1: the last occurrence of a repeated flag wins.
    #[test]
    fn the_last_flag_wins() {
        let flags = parsed("-port 1 -port 2 -log-level loud -log-level debug").flags;
        assert_eq!(flags.port.as_deref(), Some("2"));
        assert_eq!((flags.log_level, flags.unknown_log_level), (LogLevel::Debug, None));
    }

    /// KB-CLI-1: booleans take a value only with `=`.
    #[test]
    fn boolean_values() {
        for value in ["1", "t", "T", "true", "TRUE", "True"] {
            assert_eq!(command(&format!("-version={value}")), Command::Version, "{value}");
        }
        for value in ["0", "f", "F", "false", "FALSE", "False"] {
            assert_eq!(command(&format!("-version={value}")), Command::Serve, "{value}");
        }
        assert_eq!(command("-version -version=false"), Command::Serve);
    }

    /// KB-CLI-2: the version comes before anything else, even a stray word.
    #[test]
    fn the_version_wins() {
        for line in ["-version", "--version", "version", "check -version", "-version stray"] {
            assert_eq!(command(line), Command::Version, "{line}");
        }
        assert_eq!(error("-version -bogus"), SyntaxError::NotDefined("bogus".into()).into());
    }

    /// KB-CLI-3: the message, then the usage.
    #[test]
    fn errors_are_gos_with_the_usage() {
        for (line, message) in [
            ("-x", "flag provided but not defined: -x"),
            ("--x=1", "flag provided but not defined: -x"),
            ("-port", "flag needs an argument: -port"),
            ("check --config", "flag needs an argument: -config"),
            ("-=x", "bad flag syntax: -=x"),
            ("---x", "bad flag syntax: ---x"),
            ("--=x", "bad flag syntax: --=x"),
            ("-version=maybe", "invalid boolean value \"maybe\" for -version: parse error"),
            ("-version=", "invalid boolean value \"\" for -version: parse error"),
        ] {
            assert_eq!(error(line).to_string(), format!("{message}\n{}", usage()), "{line}");
        }
    }

    /// KB-CLI-3: help ends the parsing and is no error.
    #[test]
    fn help_is_no_error() {
        for line in ["-h", "-help", "--help", "help", "check -h", "-h -bogus", "-help=x"] {
            assert_eq!(command(line), Command::Help, "{line}");
        }
        assert_eq!(error("-bogus -h"), SyntaxError::NotDefined("bogus".into()).into());
    }

    /// KB-CLI-7: an unknown level is info, and the word is kept for the warning.
    #[test]
    fn an_unknown_log_level_is_info() {
        for word in ["loud", "INFO", ""] {
            let flags = parsed(&format!("-log-level={word}")).flags;
            assert_eq!(flags.log_level, LogLevel::Info);
            assert_eq!(flags.unknown_log_level.as_deref(), Some(word));
        }
        for (word, level) in [("debug", LogLevel::Debug), ("error", LogLevel::Error)] {
            assert_eq!(parsed(&format!("-log-level {word}")).flags.log_level, level);
        }
    }

    /// Surface, section 1: every command, with its flags behind it.
    #[test]
    fn commands() {
        assert_eq!(command(""), Command::Serve);
        for (expected, name, _) in COMMANDS {
            let invocation = parsed(&format!("{name} -config x"));
            assert_eq!(invocation.command, expected);
            assert_eq!(invocation.flags.config.as_deref(), Some("x"));
        }
    }

    /// D12: a first word that is no command is an error that names the nearest.
    #[test]
    fn an_unknown_command_names_the_nearest() {
        for (word, nearest) in [("chek", "check"), ("serv", "serve"), ("--port 1 demon", "demo")] {
            let expected = word.rsplit(' ').next().unwrap();
            assert_eq!(error(word), FlagError::UnknownCommand { word: expected.into(), nearest });
        }
        assert!(
            error("chek")
                .to_string()
                .starts_with("unknown command \"chek\"; did you mean check?\n")
        );
        assert!(matches!(parse([""]), Err(FlagError::UnknownCommand { .. })));
    }

    /// D12: words that would silently be ignored are errors.
    #[test]
    fn stray_words_are_refused() {
        assert_eq!(error("-config x check"), FlagError::CommandAfterFlags("check"));
        let stray = FlagError::UnexpectedWord { word: "my.yml".into(), command: "check" };
        assert_eq!(error("check my.yml"), stray);
        assert_eq!(error("check -port 1 my.yml"), stray);
    }

    /// D12: words after a lone `-` or `--` are ignored, and so are those two.
    #[test]
    fn dashes_end_the_parsing() {
        for line in ["- stray -bogus", "-- stray -bogus", "serve - x", "serve -- x", "-", "--"] {
            assert_eq!(parsed(line), parsed(""), "{line}");
        }
        assert_eq!(parsed("-port 1 -- -port 2").flags.port.as_deref(), Some("1"));
    }

    #[test]
    fn the_usage_names_every_command_and_flag() {
        let usage = usage();
        for (_, name, _) in COMMANDS {
            assert!(usage.contains(&format!("\n  {name} ")), "{name}");
        }
        for Known { name, .. } in FLAGS {
            assert!(usage.contains(&format!("\n  -{name} ")), "{name}");
        }
    }
}
