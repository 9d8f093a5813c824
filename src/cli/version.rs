//! `version`: the releases of client and daemon.

use serde::Serialize;

use super::{call::Call, exit::Trouble, session::Session};
use crate::api::{Op, types::Version};

/// The release of this program.
const CLIENT: &str = env!("CARGO_PKG_VERSION");

/// Both releases; `version` is the daemon's, as the API has it.
#[derive(Serialize)]
struct Both {
    version: String,
    client: &'static str,
}

/// Prints both; the client's even if the daemon is away.
///
/// # Errors
///
/// As for [`super::client::Client::call`].
pub async fn run(session: &mut Session<'_>) -> Result<(), Trouble> {
    session.out.lines([format!("lbctl {CLIENT}")])?;
    let daemon: Version = session.client.call(&Call::new(Op::Version)).await?.read()?;
    session.out.lines([format!("lbd   {}", daemon.version)])?;
    session.out.json(&Both { version: daemon.version, client: CLIENT })
}
