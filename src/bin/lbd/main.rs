//! The daemon: flags → config → sockets → state → control → workers → serve until told to stop.

mod house;
mod shift;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use lbd::{
    config::{self, Loaded},
    handover::{
        origin::{self, Origin},
        predecessor::Predecessor,
    },
    init,
};
use sd_notify::NotifyState;
use tokio::task::LocalSet;

use house::House;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The edge proxy that ships releases.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "Examples:
  lbd --config /etc/lbd/lbd.toml
  RUST_LOG=debug lbd --config ./lbd.toml

Signals: TERM and INT finish running requests and end (a second one ends at once),
HUP loads the config file again, USR1 opens the access logs anew, USR2 hands over to the
binary on the disk without a gap, as `lbctl upgrade` does.
Exit codes: 0 ended as told, 1 failed, 2 the config file or the flags are wrong."
)]
pub struct Flags {
    /// The config file.
    #[arg(short, long, value_name = "FILE", default_value = "/etc/lbd/lbd.toml")]
    pub config: PathBuf,

    /// Keep a damaged state file aside and begin from the config file.
    #[arg(long)]
    pub reset_state: bool,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    if std::process::id() == 1 {
        return init::run();
    }
    // Before anybody replaces the binary.
    let origin = Origin::here();
    // Chosen before any library chooses for itself; an error says that it was chosen already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| "info,pingora_core=warn,pingora_proxy=warn".into()),
        )
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    raise_descriptor_limit();
    let mut predecessor = match met() {
        Ok(predecessor) => predecessor,
        Err(error) => {
            eprintln!("lbd: the process that hands over is not understood: {error}");
            return ExitCode::FAILURE;
        }
    };
    let loaded = match config::load(&flags.config) {
        Ok(loaded) => loaded,
        Err(problems) => {
            eprintln!("lbd: {problems}");
            predecessor.inspect(|predecessor| predecessor.fail(problems.to_string()));
            return ExitCode::from(2);
        }
    };
    let origin = match origin {
        Ok(origin) => origin,
        Err(error) => {
            eprintln!("lbd: it is not known what runs: {error}");
            return ExitCode::FAILURE;
        }
    };
    match run(&flags, loaded, origin, &mut predecessor) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lbd: {error:#}");
            predecessor.inspect(|predecessor| predecessor.fail(format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

/// The process that hands over, if this one was started for that.
fn met() -> std::io::Result<Option<Predecessor>> {
    origin::inherited()?.map(Predecessor::meet).transpose()
}

fn run(
    flags: &Flags,
    loaded: Loaded,
    origin: Origin,
    predecessor: &mut Option<Predecessor>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let serving = async {
        let house = House::prepare(flags, loaded, predecessor).await?;
        house.serve(flags, origin, predecessor).await
    };
    let result = LocalSet::new().block_on(&runtime, serving);
    // A name server that hangs must not keep the process from ending.
    runtime.shutdown_background();
    result
}

/// Tells systemd, if it is there.
pub fn announce(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("systemd cannot be told: {error}");
    }
}

/// Every connection takes a descriptor, and the usual limit of 1024 is none for a proxy.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!("the limit of open files cannot be raised: {error}");
    }
}
