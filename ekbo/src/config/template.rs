//! The template a configuration file is run through before it is YAML: `{{ env "PORT" "9180" }}`.
//!
//! Of Go's template language there are string literals, pipelines, trim markers, comments and the
//! functions `env`, `must_env` and `json_escape`. Everything else is refused by name: nothing
//! between `{{` and `}}` ever passes as text.

use thiserror::Error;

use super::environment::Environment;
use super::yaml;

/// The text after all actions, with the line of the source that each of its lines comes from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rendered {
    pub(crate) text: String,
    source_lines: Vec<usize>,
}

impl Rendered {
    /// The line of the source a line of the text comes from; both count from 1.
    pub(super) fn source_line(&self, line: usize) -> usize {
        let index = line.saturating_sub(1).min(self.source_lines.len() - 1);
        self.source_lines[index]
    }

    /// Adds text that begins on `source_line`, and ends there too unless its line ends are counted.
    fn push(&mut self, text: &str, mut source_line: usize, counting: bool) {
        let at_line_start = self.text.is_empty() || self.text.ends_with('\n');
        if let (true, false, Some(last)) =
            (at_line_start, text.is_empty(), self.source_lines.last_mut())
        {
            *last = source_line;
        }
        for character in text.chars() {
            self.text.push(character);
            if character == '\n' {
                source_line += usize::from(counting);
                self.source_lines.push(source_line);
            }
        }
    }
}

/// Why a template cannot be rendered, and on which line of the source.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{problem}")]
pub(super) struct TemplateError {
    pub(crate) line: usize,
    pub(crate) problem: Problem,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum Problem {
    #[error("this {{{{ is never closed; end the action with }}}} on the same line")]
    Unclosed,
    #[error("this comment is never closed; end it with */}}}}")]
    UnclosedComment,
    #[error("a comment is written {{{{/* … */}}}}, without blanks between the braces and the /*")]
    MisplacedComment,
    #[error("this string literal is not closed")]
    UnclosedLiteral,
    #[error("{0} is no escape Go knows in a string literal")]
    BadEscape(String),
    #[error("this string literal is not UTF-8")]
    LiteralNotUtf8,
    #[error("{0:?} stands directly behind another operand; put a blank between them")]
    MissingBlank(String),
    #[error("an action needs a string or a function between {{{{ and }}}} and around each |")]
    Empty,
    #[error("a string takes no arguments; write {{{{ env … }}}}")]
    LiteralCalled,
    #[error("only a function can follow |")]
    LiteralInPipeline,
    #[error(
        "{0:?} is not supported in a template here; there are strings in quotes, |, env, must_env \
         and json_escape"
    )]
    Unsupported(String),
    #[error("function {0:?} is not defined; there are env, must_env and json_escape")]
    UnknownFunction(String),
    #[error("{function} takes one argument, not {given}")]
    ArgumentCount { function: &'static str, given: usize },
    #[error(
        "environment variable {} is not defined; set it, or use env with a default",
        .0.escape_debug()
    )]
    VariableMissing(String),
}

/// The words of Go's templates that are no functions.
const KEYWORDS: [&str; 13] = [
    "if", "else", "end", "range", "with", "define", "template", "block", "break", "continue",
    "nil", "true", "false",
];

/// What Go's templates trim.
const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

/// KB-TPL-1 to KB-TPL-3: runs the template with the variables of `environment`.
pub(super) fn render(source: &str, environment: &Environment) -> Result<Rendered, TemplateError> {
    let mut rendered =
        Rendered { text: String::with_capacity(source.len()), source_lines: vec![1] };
    let mut rest = source;
    let mut line = 1;
    loop {
        let Some(start) = rest.find("{{") else {
            rendered.push(rest, line, true);
            return Ok(rendered);
        };
        let before = &rest[..start];
        let action_line = line + line_ends(before);
        let fault = |problem| TemplateError { line: action_line, problem };
        let action = Action::at(&rest[start..]).map_err(fault)?;
        let kept = if action.trims_before { before.trim_end_matches(BLANKS) } else { before };
        rendered.push(kept, line, true);
        if let Some(code) = action.code {
            let value = evaluate(code, environment).map_err(fault)?;
            rendered.push(&value, action_line, false);
        }
        let after = &rest[start + action.length..];
        let next = if action.trims_after { after.trim_start_matches(BLANKS) } else { after };
        line += line_ends(&rest[..rest.len() - next.len()]);
        rest = next;
    }
}

/// The text with JSON string escaping, without the quotes, in the way of Go's encoder.
fn json_escaped(text: &str) -> String {
    let quoted = yaml::quoted(text);
    let inner = &quoted[1..quoted.len() - 1];
    inner.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn line_ends(text: &str) -> usize {
    text.matches('\n').count()
}

/// One `{{ … }}`, cut out of the source.
struct Action<'a> {
    /// What is between the braces and trim markers; `None` for a comment.
    code: Option<&'a str>,
    trims_before: bool,
    trims_after: bool,
    /// Bytes from the first brace to behind the last.
    length: usize,
}

impl<'a> Action<'a> {
    /// `text` begins with the opening braces.
    fn at(text: &'a str) -> Result<Self, Problem> {
        let inner = &text[2..];
        let trims_before = inner.starts_with('-') && inner[1..].starts_with(BLANKS);
        let body = if trims_before { &inner[2..] } else { inner };
        let body_start = text.len() - body.len();
        if body.starts_with("/*") {
            let end = body.find("*/").ok_or(Problem::UnclosedComment)? + 2;
            let closing = &body[end..];
            let trimmed = closing.trim_start_matches(BLANKS);
            let trims_after = trimmed.len() < closing.len() && trimmed.starts_with("-}}");
            let closing_length = match (trims_after, closing.starts_with("}}")) {
                (true, _) => closing.len() - trimmed.len() + 3,
                (false, true) => 2,
                (false, false) => return Err(Problem::UnclosedComment),
            };
            let length = body_start + end + closing_length;
            return Ok(Self { code: None, trims_before, trims_after, length });
        }
        let end = code_length(body)?;
        let code = &body[..end];
        let trims_after = code.ends_with('-') && code[..end - 1].ends_with(BLANKS);
        let code = if trims_after { &code[..end - 1] } else { code };
        Ok(Self { code: Some(code), trims_before, trims_after, length: body_start + end + 2 })
    }
}

/// Where the closing braces stand; braces inside a literal do not count.
fn code_length(body: &str) -> Result<usize, Problem> {
    let mut position = 0;
    loop {
        let rest = &body[position..];
        let Some(first) = rest.chars().next() else {
            return Err(Problem::Unclosed);
        };
        position += match first {
            '}' if rest.starts_with("}}") => return Ok(position),
            '\n' => return Err(Problem::Unclosed),
            '"' | '`' => literal_length(rest)?,
            _ => first.len_utf8(),
        };
    }
}

/// The length of the literal `text` begins with, quotes included.
fn literal_length(text: &str) -> Result<usize, Problem> {
    let quote = text.as_bytes()[0];
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            b'\n' if quote == b'"' => break,
            _ if escaped => escaped = false,
            b'\\' if quote == b'"' => escaped = true,
            _ if byte == quote => return Ok(index + 1),
            _ => {}
        }
    }
    Err(Problem::UnclosedLiteral)
}

enum Operand<'a> {
    Literal(String),
    Function(&'a str),
}

/// The value of a pipeline: each stage's value is the last argument of the next.
fn evaluate(code: &str, environment: &Environment) -> Result<String, Problem> {
    let mut piped: Option<String> = None;
    for operands in stages(code)? {
        let mut operands = operands.into_iter();
        let value = match operands.next().ok_or(Problem::Empty)? {
            Operand::Literal(_) if piped.is_some() => return Err(Problem::LiteralInPipeline),
            Operand::Literal(_) if operands.len() > 0 => return Err(Problem::LiteralCalled),
            Operand::Literal(text) => text,
            Operand::Function(function) => {
                let mut arguments = Vec::new();
                for operand in operands {
                    match operand {
                        Operand::Literal(text) => arguments.push(text),
                        Operand::Function(name) => return Err(Problem::Unsupported(name.into())),
                    }
                }
                arguments.extend(piped.take());
                call(function, arguments, environment)?
            }
        };
        piped = Some(value);
    }
    piped.ok_or(Problem::Empty)
}

fn call(
    function: &str,
    mut arguments: Vec<String>,
    environment: &Environment,
) -> Result<String, Problem> {
    match function {
        "env" => {
            let set = arguments
                .iter()
                .filter_map(|name| environment.variable(name))
                .find(|value| !value.is_empty())
                .map(str::to_owned);
            Ok(set.or_else(|| arguments.pop()).unwrap_or_default())
        }
        "must_env" => {
            let name = only("must_env", arguments)?;
            let value = environment.variable(&name).map(str::to_owned);
            value.ok_or(Problem::VariableMissing(name))
        }
        "json_escape" => Ok(json_escaped(&only("json_escape", arguments)?)),
        _ => Err(Problem::UnknownFunction(function.into())),
    }
}

fn only(function: &'static str, arguments: Vec<String>) -> Result<String, Problem> {
    let given = arguments.len();
    match <[String; 1]>::try_from(arguments) {
        Ok([argument]) => Ok(argument),
        Err(_) => Err(Problem::ArgumentCount { function, given }),
    }
}

/// The operands of each stage of a pipeline.
fn stages(code: &str) -> Result<Vec<Vec<Operand<'_>>>, Problem> {
    let mut stages = vec![Vec::new()];
    let mut rest = code;
    let mut after_operand = false;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '|' | ' ' | '\t' | '\r' => 1,
            '"' | '`' => literal_length(rest)?,
            '/' if rest.starts_with("/*") => return Err(Problem::MisplacedComment),
            _ => word_length(rest),
        };
        let (token, remaining) = rest.split_at(length);
        let operand = match first {
            '|' => {
                stages.push(Vec::new());
                None
            }
            ' ' | '\t' | '\r' => None,
            _ if after_operand => return Err(Problem::MissingBlank(token.into())),
            '"' => Some(Operand::Literal(unescaped(&token[1..length - 1])?)),
            '`' => Some(Operand::Literal(token[1..length - 1].replace('\r', ""))),
            _ => Some(Operand::Function(function_name(token)?)),
        };
        after_operand = operand.is_some();
        if let (Some(operand), Some(stage)) = (operand, stages.last_mut()) {
            stage.push(operand);
        }
        rest = remaining;
    }
    Ok(stages)
}

/// The length of an identifier, or of whatever else ends at a blank.
fn word_length(text: &str) -> usize {
    let identifier = |c: char| c.is_alphanumeric() || c == '_';
    let end = if text.starts_with(identifier) {
        text.find(|c: char| !identifier(c))
    } else {
        text.find(|c: char| BLANKS.contains(&c) || "|\"`".contains(c))
    };
    end.unwrap_or(text.len())
}

fn function_name(token: &str) -> Result<&str, Problem> {
    let name = token.starts_with(|c: char| c.is_alphabetic() || c == '_');
    if name && !KEYWORDS.contains(&token) {
        Ok(token)
    } else {
        Err(Problem::Unsupported(token.into()))
    }
}

/// Go's escapes of a double-quoted literal; `\x` and octal ones make bytes.
fn unescaped(literal: &str) -> Result<String, Problem> {
    let mut bytes = Vec::with_capacity(literal.len());
    let mut rest = literal;
    while let Some(first) = rest.chars().next() {
        if first != '\\' {
            bytes.extend_from_slice(&rest.as_bytes()[..first.len_utf8()]);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let kind = rest[1..].chars().next().unwrap_or('\\');
        let length = match kind {
            'x' => 4,
            '0'..='7' => 4,
            'u' => 6,
            'U' => 10,
            _ => 1 + kind.len_utf8(),
        };
        let bad = || Problem::BadEscape(rest.chars().take(length).collect());
        let escape = rest.get(..length).ok_or_else(bad)?;
        let code = |digits: &str, radix| {
            let clean = digits.chars().all(|c| c.is_digit(radix));
            clean.then(|| u32::from_str_radix(digits, radix).ok()).flatten().ok_or_else(bad)
        };
        match kind {
            'a' => bytes.push(7),
            'b' => bytes.push(8),
            'f' => bytes.push(12),
            'n' => bytes.push(b'\n'),
            'r' => bytes.push(b'\r'),
            't' => bytes.push(b'\t'),
            'v' => bytes.push(11),
            '\\' | '"' if escape.len() == 2 => bytes.push(kind as u8),
            'x' => bytes.push(u8::try_from(code(&escape[2..], 16)?).map_err(|_| bad())?),
            '0'..='7' => bytes.push(u8::try_from(code(&escape[1..], 8)?).map_err(|_| bad())?),
            'u' | 'U' => {
                let character = char::from_u32(code(&escape[2..], 16)?).ok_or_else(bad)?;
                bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => return Err(bad()),
        }
        rest = &rest[length..];
    }
    String::from_utf8(bytes).map_err(|_| Problem::LiteralNotUtf8)
}

#[cfg(test)]
mod tests;
