//! lbd itself, in a temporary folder, and `lbctl` to drive it.

use std::{
    fs::{self, File},
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail};
use lbd::api::types::Status;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;
use tokio::{task::spawn_blocking, time::sleep};

use crate::origin::Origins;

/// What lbd mixes into user ids here. Named in the config, since the demo predicts with it.
pub const SALT: &str = "lbd";

/// How long lbd may take to start, and to end.
const START: Duration = Duration::from_secs(15);
const END: Duration = Duration::from_secs(10);
/// How long lbd may take to end where nobody waits for its last words.
const END_EARLY: Duration = Duration::from_secs(1);
/// The time between two looks at a process.
const LOOK: Duration = Duration::from_millis(20);

/// A running lbd. Dropped, it is ended.
#[derive(Debug)]
pub struct Lab {
    lbd: Child,
    address: SocketAddr,
    folder: TempDir,
    lbctl: PathBuf,
}

/// What `lbctl` said.
#[derive(Clone, Debug)]
pub struct Said {
    /// What it printed.
    pub text: String,
    /// When it had ended.
    pub at: Instant,
    /// How long it ran.
    pub took: Duration,
}

impl Lab {
    /// Starts lbd in front of `origins` and waits until it answers.
    pub async fn start(origins: &Origins) -> anyhow::Result<Self> {
        let (lbd, lbctl) = (program("lbd")?, program("lbctl")?);
        let folder = tempfile::Builder::new().prefix("lbd-demo-").tempdir()?;
        let config = folder.path().join("lbd.toml");
        fs::write(&config, self::config(folder.path(), origins))?;
        let log = File::create(folder.path().join("lbd.log"))?;
        let mut command = Command::new(&lbd);
        command.arg("--config").arg(&config).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        // Ctrl-C is for the demo, which then ends lbd.
        command.process_group(0);
        let lbd = command.spawn().with_context(|| lbd.display().to_string())?;
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut lab = Self { lbd, address, folder, lbctl };
        lab.address = lab.ready().await?;
        Ok(lab)
    }

    /// Where lbd takes requests.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs `lbctl` with `words`.
    pub async fn lbctl(&self, words: &[&str]) -> anyhow::Result<Said> {
        let mut command = Command::new(&self.lbctl);
        command.args(words).env("LBCTL_SOCKET", self.socket()).stdin(Stdio::null());
        let began = Instant::now();
        let (output, at) = spawn_blocking(move || (command.output(), Instant::now())).await?;
        let output = output.with_context(|| self.lbctl.display().to_string())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`lbctl {}` failed ({}): {}", words.join(" "), output.status, said.trim());
        }
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok(Said { text, at, took: at - began })
    }

    /// What lbd says of itself.
    pub async fn status(&self) -> anyhow::Result<Status> {
        let said = self.lbctl(&["status", "--json"]).await?;
        serde_json::from_str(&said.text).context("`lbctl status --json` printed something else")
    }

    /// Ends lbd as systemd would, and waits for it.
    pub async fn stop(mut self) -> anyhow::Result<Stopped> {
        let began = Instant::now();
        kill(self.pid(), Signal::SIGTERM)?;
        while began.elapsed() < END {
            if let Some(status) = self.lbd.try_wait()? {
                return Ok(Stopped { status, took: began.elapsed() });
            }
            sleep(LOOK).await;
        }
        bail!("lbd did not end within {END:?} of SIGTERM; it said:\n{}", self.log())
    }

    /// Waits until lbd answers, and returns where it takes requests.
    async fn ready(&mut self) -> anyhow::Result<SocketAddr> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.lbd.try_wait()? {
                bail!("lbd ended ({status}); it said:\n{}", self.log());
            }
            match self.status().await {
                Ok(status) => {
                    let listener = status.listeners.first().context("lbd has no listener")?;
                    return listener.address.parse().context("the listener's address");
                }
                Err(error) if began.elapsed() > START => {
                    return Err(anyhow!(
                        "lbd does not answer: {error:#}; it said:\n{}",
                        self.log()
                    ));
                }
                Err(_) => sleep(LOOK).await,
            }
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("admin.sock")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("lbd.log")).unwrap_or_default()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.lbd.id().cast_signed())
    }
}

/// How lbd ended.
#[derive(Clone, Copy, Debug)]
pub struct Stopped {
    /// Its exit status.
    pub status: ExitStatus,
    /// How long it took.
    pub took: Duration,
}

impl Drop for Lab {
    fn drop(&mut self) {
        let mut is_over = || !matches!(self.lbd.try_wait(), Ok(None));
        if is_over() {
            return;
        }
        // It may have ended just now; then there is nothing left to do.
        let _ = kill(Pid::from_raw(self.lbd.id().cast_signed()), Signal::SIGTERM);
        let began = Instant::now();
        while began.elapsed() < END_EARLY {
            if !matches!(self.lbd.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(LOOK);
        }
        let _ = self.lbd.kill();
        let _ = self.lbd.wait();
    }
}

/// A binary of this build: the demo stands in `examples`, the binaries one folder above.
fn program(name: &str) -> anyhow::Result<PathBuf> {
    let demo = std::env::current_exe()?;
    let folder = demo.parent().and_then(Path::parent).context("the demo has no folder")?;
    let path = folder.join(name);
    if !path.is_file() {
        bail!("{} is missing; `make demo` builds it first", path.display());
    }
    Ok(path)
}

fn config(folder: &Path, origins: &Origins) -> String {
    let path = |name: &str| toml::Value::from(folder.join(name).display().to_string());
    let (socket, state) = (path("admin.sock"), path("state"));
    let Origins { blue, green } = origins;
    format!(
        r#"# The demo's config. conf/lbd.toml explains every key.
[admin]
socket = {socket}
state_dir = {state}

[runtime]
workers = 2
upgrade_drain = "5s"

[bucketing]
salt = "{SALT}"

[listener.http]
address = "127.0.0.1:0"

[service.shop]
user_id = ["header:X-User-Id"]

[service.shop.health]
path = "/healthz"

[service.shop.pool.blue]
endpoints = ["{blue}"]

[service.shop.pool.green]
endpoints = ["{green}"]
weight = 0
"#
    )
}
