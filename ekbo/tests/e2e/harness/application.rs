//! Servers that others wrote, as the application behind `ekbo`: nginx, gunicorn, Puma, and a
//! WebSocket server on Python's `websockets`. What they serve is in `application/`.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::clock::patiently;
use super::directory::Directory;
use super::system::{free_port, kill_group};

/// A running server; it ends, and what it started, when this is dropped.
pub(crate) struct Application {
    process: Child,
    address: Address,
    /// Where it runs and what it serves.
    pub(crate) directory: Directory,
}

/// How `ekbo` reaches it.
enum Address {
    Port(u16),
    Socket(PathBuf),
}

/// A transport to listen on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Transport {
    Tcp,
    Unix,
}

impl Application {
    /// nginx: `/page`, and the files in its directory. What it was asked is in `asked.log`.
    #[track_caller]
    pub(crate) fn nginx() -> Self {
        let port = free_port();
        let directory = Directory::new();
        let conf = include_str!("application/nginx.conf").replace("PORT", &port.to_string());
        directory.write("nginx.conf", conf);
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-p").arg(directory.path()).args(["-c", "nginx.conf", "-e", "stderr"]);
        Self::start(command, "nginx-light", Address::Port(port), directory)
    }

    /// gunicorn with one process and eight threads, on a unix socket or a port.
    #[track_caller]
    pub(crate) fn gunicorn(transport: Transport) -> Self {
        let directory = Directory::new();
        directory.write("app.py", include_str!("application/app.py"));
        let address = Address::new(transport, &directory);
        let bind = match &address {
            Address::Port(port) => format!("127.0.0.1:{port}"),
            Address::Socket(path) => format!("unix:{}", path.display()),
        };
        let mut command = Command::new("/usr/bin/gunicorn");
        command.args(["--bind", &bind, "--worker-class", "gthread", "--threads", "8"]).args([
            "--keep-alive",
            "60",
            "--log-level",
            "warning",
            "app:app",
        ]);
        Self::start(command, "gunicorn", address, directory)
    }

    /// Puma with four threads.
    #[track_caller]
    pub(crate) fn puma() -> Self {
        let directory = Directory::new();
        directory.write("app.ru", include_str!("application/app.ru"));
        let address = Address::Port(free_port());
        let Address::Port(port) = address else { unreachable!() };
        let mut command = Command::new("/usr/bin/puma");
        command.args(["--environment", "production", "--threads", "4:4", "--quiet"]).args([
            "--bind",
            &format!("tcp://127.0.0.1:{port}"),
            "app.ru",
        ]);
        Self::start(command, "puma", address, directory)
    }

    /// A WebSocket server that echoes, on any path.
    #[track_caller]
    pub(crate) fn websockets(transport: Transport) -> Self {
        let directory = Directory::new();
        directory.write("echo.py", include_str!("application/echo.py"));
        let address = Address::new(transport, &directory);
        let mut command = Command::new("/usr/bin/python3");
        command.arg("echo.py");
        match &address {
            Address::Port(port) => command.arg(port.to_string()),
            Address::Socket(path) => command.arg(path),
        };
        Self::start(command, "python3-websockets", address, directory)
    }

    /// Its address as it is written in a configuration.
    pub(crate) fn url(&self) -> String {
        match &self.address {
            Address::Port(port) => format!("http://127.0.0.1:{port}"),
            Address::Socket(path) => format!("unix:{}", path.display()),
        }
    }

    /// Starts the server, which is in that package of Debian, and waits until it listens.
    #[track_caller]
    fn start(mut command: Command, package: &str, address: Address, directory: Directory) -> Self {
        let complaints = directory.join("stderr");
        let spawned = command
            .current_dir(directory.path())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&complaints).unwrap())
            .spawn();
        let process = spawned.unwrap_or_else(|error| match error.kind() {
            ErrorKind::NotFound => {
                panic!("{package} is missing, install it with: apt-get install {package}")
            }
            _ => panic!("{command:?}: {error}"),
        });
        let mut application = Self { process, address, directory };
        let listens = patiently(|| {
            let ended = application.process.try_wait().unwrap().is_some();
            (ended || application.address.takes_connections()).then_some(!ended)
        });
        if listens != Some(true) {
            let told = fs::read_to_string(&complaints).unwrap();
            panic!("{package} (apt-get install {package}) does not start:\n{told}");
        }
        application
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        kill_group(self.process.id());
        let _ = self.process.wait();
    }
}

impl Address {
    fn new(transport: Transport, directory: &Directory) -> Self {
        match transport {
            Transport::Tcp => Self::Port(free_port()),
            Transport::Unix => Self::Socket(directory.join("app.sock")),
        }
    }

    fn takes_connections(&self) -> bool {
        match self {
            Self::Port(port) => TcpStream::connect(("127.0.0.1", *port)).is_ok(),
            Self::Socket(path) => UnixStream::connect(path).is_ok(),
        }
    }
}
