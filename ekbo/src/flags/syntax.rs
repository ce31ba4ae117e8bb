//! How flags are spelled, for every program here: as Go's `flag` package has it. What the flags are
//! and what they mean is the program's.

use std::fmt::Write as _;
use std::iter::Peekable;

use thiserror::Error;

/// A flag that a program knows.
#[derive(Clone, Copy)]
pub(crate) struct Known<F> {
    flag: F,
    pub(crate) name: &'static str,
    /// What its argument is called; nothing for a boolean.
    argument: &'static str,
    meaning: &'static str,
}

impl<F> Known<F> {
    pub(crate) const fn new(
        flag: F,
        name: &'static str,
        argument: &'static str,
        meaning: &'static str,
    ) -> Self {
        Self { flag, name, argument, meaning }
    }
}

/// A flag as it was given.
pub(crate) enum Given<F> {
    Text(F, String),
    Boolean(F, bool),
    /// `-h` or `-help`, where the program has no flag of that name.
    Help,
}

/// What is wrong with a flag, in Go's words.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum SyntaxError {
    #[error("flag provided but not defined: -{0}")]
    NotDefined(String),
    #[error("flag needs an argument: -{0}")]
    NeedsArgument(&'static str),
    #[error("bad flag syntax: {0}")]
    BadSyntax(String),
    #[error("invalid boolean value {value:?} for -{flag}: parse error")]
    InvalidBoolean { flag: &'static str, value: String },
}

/// Takes the next flag, with its value. `None`: there is no further one. The word that ended them
/// stays: one that does not begin with `-`, or a lone `-` or `--`.
pub(crate) fn next<F: Copy>(
    arguments: &mut Peekable<impl Iterator<Item = String>>,
    known: &[Known<F>],
) -> Result<Option<Given<F>>, SyntaxError> {
    let is_flag = |word: &String| word.starts_with('-') && word != "-" && word != "--";
    let Some(word) = arguments.next_if(is_flag) else {
        return Ok(None);
    };
    let name = word.strip_prefix("--").unwrap_or(&word[1..]);
    if name.is_empty() || name.starts_with(['-', '=']) {
        return Err(SyntaxError::BadSyntax(word));
    }
    let (name, value) = match name.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (name, None),
    };
    let Some(&Known { flag, name, argument, .. }) = known.iter().find(|one| one.name == name)
    else {
        return if matches!(name, "h" | "help") {
            Ok(Some(Given::Help))
        } else {
            Err(SyntaxError::NotDefined(name.into()))
        };
    };
    if argument.is_empty() {
        return boolean(name, value.as_deref()).map(|value| Some(Given::Boolean(flag, value)));
    }
    let value = value.or_else(|| arguments.next()).ok_or(SyntaxError::NeedsArgument(name))?;
    Ok(Some(Given::Text(flag, value)))
}

/// The part of a usage text that tells of the flags, without a closing line end.
pub(crate) fn usage<F>(known: &[Known<F>]) -> String {
    let mut text = String::from("Flags (-flag VALUE, -flag=VALUE, and the same with two dashes):");
    for Known { name, argument, meaning, .. } in known {
        let flag = format!("-{name} {argument}");
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {flag:<20}  {meaning}");
    }
    text
}

fn boolean(flag: &'static str, value: Option<&str>) -> Result<bool, SyntaxError> {
    match value {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(value) => Err(SyntaxError::InvalidBoolean { flag, value: value.into() }),
    }
}
