//! `ekbo demo`: the chat page, a backend behind it and the words printed at the start.
//!
//! The backend is written as an application's would be: it knows the gateway by its address only
//! and speaks the public HTTP contract with it. Building the gateway in front of it, and serving
//! the page there, is `app.rs`.

use std::net::SocketAddr;

mod backend;
mod gateway;
mod percent;
mod request;
mod room;

pub(crate) use backend::Backend;

/// The chat page. It connects to `/connect` of the host that served it.
pub(crate) const PAGE: &str = include_str!("demo/page.html");

/// What to print once the gateway listens on `address`: where the page is, and three lines to
/// paste into another terminal.
pub(crate) fn welcome(address: SocketAddr) -> String {
    let base = format!("http://{address}");
    format!(
        "Kuiperbelt demo: a chat through a plain HTTP backend.\n\
         \n\
         Open these in two browser windows:\n\
         \x20 {base}/?name=anna\n\
         \x20 {base}/?name=bob\n\
         \n\
         Then be the backend yourself, from another terminal:\n\
         \x20 curl -H 'X-Kuiperbelt-Session: anna' -d 'hello from curl' {base}/send\n\
         \x20 curl -H 'X-Kuiperbelt-Session: anna' -d 'goodbye' {base}/close\n\
         \x20 curl {base}/stats\n\
         \n\
         Ctrl-C stops it.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn welcome_names_the_page_and_three_commands() {
        let text = welcome("127.0.0.1:9180".parse().unwrap());
        assert!(text.contains("  http://127.0.0.1:9180/?name=anna\n"));
        let commands: Vec<_> =
            text.lines().map(str::trim).filter(|line| line.starts_with("curl ")).collect();
        let ends: Vec<_> = commands
            .iter()
            .filter_map(|line| line.rsplit_once("9180"))
            .map(|(_, end)| end)
            .collect();
        assert_eq!(ends, ["/send", "/close", "/stats"]);
        assert!(text.ends_with("Ctrl-C stops it.\n"));
    }

    #[test]
    fn page_has_the_promised_elements_and_needs_no_network() {
        for id in ["name", "join", "log", "message", "send", "status"] {
            assert!(PAGE.contains(&format!("id=\"{id}\"")), "#{id}");
        }
        for foreign in ["http://", "https://", "src=", "@import", "innerHTML"] {
            assert!(!PAGE.contains(foreign), "{foreign}");
        }
    }
}
