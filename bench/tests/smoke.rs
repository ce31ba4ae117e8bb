//! Every scenario once with tiny numbers, through the real program. Nothing is timed: what counts
//! is that each cell has a figure, and that what goes wrong is told.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const TINY: &[&str] = &[
    "--rounds=1",
    "--sessions=20",
    "--deliveries=1000",
    "--sends=200",
    "--posters=4",
    "--recipients=20",
    "--callbacks=200",
    "--senders=4",
    "--handshakes=50",
    "--connections=20",
    "--settle=20",
    "--stuck-sessions=20",
    "--stuck-posts=10",
    "--scale=20,40",
    "--requests=200",
    "--requesters=4",
    "--download=300000",
    "--slow-downloads=3",
    "--bridge-clients=1,3",
    // So many that the clock of another process, which is not exact while it runs, shows something.
    "--bridge-deliveries=50000",
    "--commands=200",
    "--time=1",
    "--patience=30",
];

#[test]
fn every_scenario_has_a_figure_from_our_own_servers() {
    // Of each table, how many columns.
    let (mut messengers, mut proxies, mut bridges) = (1, 1, 0);
    let mut servers = vec!["--server=bare".to_owned(), "--server=direct".to_owned()];
    if let Some(ekbo) = ekbo() {
        servers.push(format!("--server=ekbo={}", ekbo.display()));
        for way in ["publish", "rocket", "upstream", "bridge"] {
            servers.push(format!("--server=ekbo-{way}"));
        }
        (messengers, proxies, bridges) = (4, 2, 1);
    }
    let output = bench(&[TINY, &servers.iter().map(String::as_str).collect::<Vec<_>>()].concat());
    let report = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{report}\n{errors}");
    let rows: Vec<&str> = report.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    for scenario in [
        "idle",
        "connect",
        "fanout stream",
        "fanout barrier",
        "unicast",
        "receive",
        "stuck",
        "scale",
        "proxy",
        "bridge",
    ] {
        let columns = match scenario {
            "proxy" => proxies,
            "bridge" => bridges,
            _ => messengers,
        };
        let of_it = rows.iter().filter(|row| row.starts_with(&format!("| {scenario}")));
        assert_eq!(of_it.clone().count() > 0, columns > 0, "{scenario} in\n{report}");
        for row in of_it {
            let cells = row.split('|').skip(2).map(str::trim).filter(|cell| !cell.is_empty());
            let figures =
                cells.clone().filter(|cell| cell.starts_with(|c: char| c.is_ascii_digit()));
            // `bare` and `ekbo` have figures everywhere, the other ways of `ekbo` but for these.
            let without = match (scenario, columns) {
                ("connect", 4) => 1,
                ("receive" | "scale", 4) => 2,
                _ => 0,
            };
            assert_eq!(figures.count(), columns - without, "{row}\n{errors}");
            assert_eq!(cells.count(), columns, "{row}");
        }
    }
}

#[test]
fn a_server_that_does_not_start_is_told_in_its_cell() {
    let output = bench(&["--server=bare=/bin/false", "--scenario=receive", "--rounds=1"]);
    let report = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert!(report.contains("| failed: the server has ended with status 1"), "{report}");
}

#[test]
fn what_is_not_there_is_named() {
    for (arguments, part) in [
        (["--server=ekbo=/nowhere/ekbo"], "/nowhere/ekbo: No such file"),
        (["--server=nobody"], "no server nobody: there are ekbo, ekbo-publish, ekbo-rocket, bare"),
        (["--scenario=nothing"], "no scenario nothing: there are idle"),
    ] {
        let output = bench(&arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_proxy_is_not_asked_to_hold_sessions() {
    let output = bench(&["--server=direct", "--scenario=idle"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert_eq!(error, "none of these scenarios is for any of these servers\n");
}

#[test]
fn instructions_are_not_counted_of_what_is_not_there() {
    for (arguments, part) in [
        (["instructions", "--server=/nowhere/ekbo"], "/nowhere/ekbo: No such file"),
        (["instructions", "--quick"], "there is no option --quick\nusage: bench instructions"),
    ] {
        let output = bench(&arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(part), "{error}");
    }
}

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bench")).args(arguments).output().expect("bench starts")
}

/// The `ekbo` that was built beside this program, if it was.
fn ekbo() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_BIN_EXE_bench")).with_file_name("ekbo");
    path.exists().then_some(path)
}
