//! `upgrade`: hands over to the binary on the disk.

use tokio::time::{Instant, sleep};

use super::{
    call::Call,
    exit::Trouble,
    grammar::UpgradeArgs,
    session::{Session, WAIT_LIMIT},
};
use crate::{
    api::{
        Op,
        upgrade::{UpgradeBody, UpgradeStatus, Upgraded},
    },
    model::Millis,
};

/// How long the new process may take to be ready, if the daemon is not told otherwise.
const READY_WITHIN: Millis = Millis::from_secs(30);
/// What else an upgrade may take: what is written before, and what is taken over.
const BESIDES: Millis = Millis::from_secs(20);
/// How often it is looked whether the old process has gone.
const LOOK: Millis = Millis(100);

/// Hands over, and prints who serves now; with `--wait` once the old process has gone.
///
/// # Errors
///
/// As for [`super::client::Client::call`]; [`Trouble::StillWaiting`] if the old process stays.
pub async fn run(session: &mut Session<'_>, args: UpgradeArgs) -> Result<(), Trouble> {
    let UpgradeArgs { ready_within, wait } = args;
    session.allow(Millis(ready_within.unwrap_or(READY_WITHIN).0.saturating_add(BESIDES.0)));
    let call = Call::new(Op::Upgrade).body(&UpgradeBody { ready_within })?.on(&session.terms);
    let reply = session.client.call(&call).await?;
    let upgraded: Upgraded = reply.read()?;
    session.out.reply(&reply)?;
    session.out.lines([line(&upgraded)])?;
    if wait && !upgraded.dry_run {
        gone(session, &upgraded).await?;
        session.out.lines([format!("{} has ended", upgraded.from)])?;
    }
    Ok(())
}

fn line(upgraded: &Upgraded) -> String {
    let Upgraded { from, to, took, frozen, dry_run } = upgraded;
    match dry_run {
        true => format!("would change: {from} → {to}, which was ready in {took}, and was ended"),
        false => format!(
            "{from} → {to}, took over in {took}, of which nothing could be changed for {frozen}; \
             the old one drains"
        ),
    }
}

/// Waits until the process that was there before has gone.
async fn gone(session: &Session<'_>, upgraded: &Upgraded) -> Result<(), Trouble> {
    let limit = session.wait_limit(WAIT_LIMIT);
    let (poller, end) = (session.poller(), Instant::now() + limit.duration());
    loop {
        match poller.call(&Call::new(Op::GetUpgrade)).await {
            Ok(reply) => {
                let status: UpgradeStatus = reply.read()?;
                if status.process != upgraded.from && status.predecessor.is_none() {
                    return Ok(());
                }
            }
            Err(trouble) if trouble.is_absence() => {}
            Err(trouble) => return Err(trouble),
        }
        if Instant::now() >= end {
            let left = format!("{} still serves what it began", upgraded.from);
            return Err(Trouble::StillWaiting { limit, left });
        }
        sleep(LOOK.duration()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::upgrade::Process;

    #[test]
    fn the_line_says_who_serves_now() {
        let process = |version: &str, pid| Process { version: version.into(), pid };
        let (from, to) = (process("0.1.0", 12), process("0.1.1", 34));
        let (took, frozen) = (Millis(180), Millis(9));
        let upgraded = Upgraded { from, to, took, frozen, dry_run: false };
        assert_eq!(
            line(&upgraded),
            "lbd 0.1.0 (pid 12) → lbd 0.1.1 (pid 34), took over in 180ms, of which nothing could be \
             changed for 9ms; the old one drains"
        );
        assert!(
            line(&Upgraded { dry_run: true, ..upgraded }).starts_with("would change: lbd 0.1.0")
        );
    }
}
