//! The surroundings a configuration is read in: environment variables and the host name.
//!
//! `Environment::of_process` is the one place of the server that reads the real ones; everything
//! else, the tests included, is handed an `Environment`.

use std::collections::HashMap;
use std::fs;

/// Environment variables and host name. No `Debug`: variables hold secrets.
pub(crate) struct Environment {
    variables: HashMap<String, String>,
    hostname: Option<String>,
}

impl Environment {
    pub(crate) fn new(
        variables: impl IntoIterator<Item = (String, String)>,
        hostname: Option<String>,
    ) -> Self {
        Self { variables: variables.into_iter().collect(), hostname }
    }

    /// What this process was started with. Bytes that are not UTF-8 become replacement characters.
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place that reads the environment of the process"
    )]
    pub(crate) fn of_process() -> Self {
        let variables: HashMap<String, String> = std::env::vars_os()
            .map(|(name, value)| {
                (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
            })
            .collect();
        let hostname = fs::read_to_string("/proc/sys/kernel/hostname")
            .ok()
            .or_else(|| variables.get("HOSTNAME").cloned())
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty());
        Self::new(variables, hostname)
    }

    /// The variable as it is set, which may be to the empty text.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// Of all variables, in no order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().map(String::as_str)
    }

    /// `None` when the system does not tell.
    pub(crate) fn hostname(&self) -> Option<&str> {
        self.hostname.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_set_to_nothing_is_set() {
        let environment = Environment::new([("EMPTY".into(), String::new())], None);
        assert_eq!(environment.variable("EMPTY"), Some(""));
        assert_eq!(environment.variable("MISSING"), None);
        assert_eq!(environment.hostname(), None);
    }

    #[test]
    fn the_process_has_variables_and_a_host_name() {
        let environment = Environment::of_process();
        assert!(environment.variable("PATH").is_some());
        assert!(environment.hostname().is_some_and(|name| !name.contains('\n')));
    }
}
