//! The command line of `rocket`: flags, then the name of the configuration file.

use std::ffi::OsString;

use thiserror::Error;

use crate::flags::syntax::{self, Given, Known, SyntaxError};

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Invocation {
    Serve { config: String, given: Flags },
    Version,
    Help,
}

/// The flags that were given: each takes the place of what the file says, also with its default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) tls_cert: Option<String>,
    pub(super) tls_key: Option<String>,
    pub(super) log: Option<String>,
}

/// Why the command line is not understood: the lines for standard error, with the usage. The exit
/// status is 2.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum FlagError {
    #[error("{0}\n{usage}", usage = usage())]
    Syntax(#[from] SyntaxError),
    #[error(
        "invalid value {0:?} for flag -port: it is a number from 0 to 65535\n{usage}",
        usage = usage()
    )]
    Port(String),
    #[error("no configuration file is given\n{usage}", usage = usage())]
    NoConfig,
    #[error("one configuration file is served, not {0}; flags come before it\n{usage}", usage = usage())]
    SeveralConfigs(usize),
}

#[derive(Clone, Copy)]
enum Flag {
    Host,
    Port,
    TlsCert,
    TlsKey,
    Log,
    Version,
}

const FLAGS: [Known<Flag>; 6] = [
    Known::new(Flag::Host, "host", "ADDRESS", "address to bind (default localhost)"),
    Known::new(Flag::Port, "port", "PORT", "TCP port (default 9772); 0 takes any that is free"),
    Known::new(Flag::TlsCert, "tls-cert", "FILE", "certificate file, in PEM"),
    Known::new(Flag::TlsKey, "tls-key", "FILE", "file of the certificate's key, in PEM"),
    Known::new(Flag::Log, "log", "FILE", "server log file (default: standard error)"),
    Known::new(Flag::Version, "version", "", "print the version"),
];

/// Reads the arguments behind the program's name.
pub(super) fn parse<I>(arguments: I) -> Result<Invocation, FlagError>
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    let text = |argument: I::Item| argument.into().to_string_lossy().into_owned();
    let mut arguments = arguments.into_iter().map(text).peekable();
    let mut given = Flags::default();
    let mut version = false;
    while let Some(flag) = syntax::next(&mut arguments, &FLAGS)? {
        match flag {
            Given::Text(flag, value) => given.set(flag, value)?,
            // As of old: `-version=false` prints it, too.
            Given::Boolean(..) => version = true,
            Given::Help => return Ok(Invocation::Help),
        }
    }
    if version {
        return Ok(Invocation::Version);
    }
    arguments.next_if(|word| word == "--");
    let config = arguments.next().ok_or(FlagError::NoConfig)?;
    match arguments.count() {
        0 => Ok(Invocation::Serve { config, given }),
        more => Err(FlagError::SeveralConfigs(more + 1)),
    }
}

/// How `rocket` is called, without a closing line end.
pub(super) fn usage() -> String {
    format!("Usage: rocket [FLAGS] CONFIG.json\n\n{}", syntax::usage(&FLAGS))
}

impl Flags {
    /// The last occurrence of a repeated flag wins.
    fn set(&mut self, flag: Flag, value: String) -> Result<(), FlagError> {
        match flag {
            Flag::Host => self.host = Some(value),
            Flag::Port => self.port = Some(value.parse().map_err(|_| FlagError::Port(value))?),
            Flag::TlsCert => self.tls_cert = Some(value),
            Flag::TlsKey => self.tls_key = Some(value),
            Flag::Log => self.log = Some(value),
            Flag::Version => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Invocation, FlagError> {
        parse(line.split_whitespace())
    }

    fn serve(config: &str, given: Flags) -> Result<Invocation, FlagError> {
        Ok(Invocation::Serve { config: config.into(), given })
    }

    /// RK-CLI-2: what is given is kept, what is not is not there.
    #[test]
    fn flags_that_are_given_are_kept() {
        let given = Flags {
            host: Some("h".into()),
            port: Some(1),
            tls_cert: Some("c".into()),
            tls_key: Some("k".into()),
            log: Some(String::new()),
        };
        assert_eq!(parsed("-host h --port=1 -tls-cert=c --tls-key k -log= x"), serve("x", given));
        assert_eq!(parsed("x"), serve("x", Flags::default()));
        let given = Flags { port: Some(9772), ..Flags::default() };
        assert_eq!(parsed("-port 1 -port 9772 -- -x"), serve("-x", given));
        // Go takes a lone dash for a word that is no flag.
        assert_eq!(parsed("-"), serve("-", Flags::default()));
    }

    /// RK-CLI-1: the version comes before the configuration, whatever its value.
    #[test]
    fn the_version_wins() {
        for line in ["-version", "--version=false", "-version a b", "-port 1 -version a"] {
            assert_eq!(parsed(line), Ok(Invocation::Version), "{line}");
        }
        for line in ["-h", "--help", "-help=x", "-version -h", "-h -bogus"] {
            assert_eq!(parsed(line), Ok(Invocation::Help), "{line}");
        }
    }

    /// RK-CLI-1: exactly one word, and nothing but known flags before it.
    #[test]
    fn everything_else_ends_with_the_usage() {
        for (line, message) in [
            ("", "no configuration file is given"),
            ("-port 1", "no configuration file is given"),
            ("--", "no configuration file is given"),
            ("a b c", "one configuration file is served, not 3; flags come before it"),
            ("a -port 1", "one configuration file is served, not 3; flags come before it"),
            ("-x a", "flag provided but not defined: -x"),
            ("-host", "flag needs an argument: -host"),
            ("---host=x a", "bad flag syntax: ---host=x"),
            ("-version=maybe", "invalid boolean value \"maybe\" for -version: parse error"),
            ("-port=x a", "invalid value \"x\" for flag -port: it is a number from 0 to 65535"),
            (
                "-port 65536 a",
                "invalid value \"65536\" for flag -port: it is a number from 0 to 65535",
            ),
        ] {
            let expected = format!("{message}\n{}", usage());
            assert_eq!(parsed(line).unwrap_err().to_string(), expected, "{line}");
        }
    }

    #[test]
    fn the_usage_names_every_flag() {
        let usage = usage();
        for Known { name, .. } in FLAGS {
            assert!(usage.contains(&format!("\n  -{name} ")), "{name}");
        }
    }
}
