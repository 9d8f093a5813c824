//! Host names of endpoints, asked again and again in the background.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use tokio::{
    net::lookup_host,
    task::{AbortHandle, JoinSet, spawn_local},
    time::{sleep, timeout},
};

use super::Shared;
use crate::model::{Model, Settings, Sight};

/// How often a name is asked for.
const AGAIN: Duration = Duration::from_secs(5);
/// How soon after it failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a start waits for first answers.
const AT_START: Duration = Duration::from_secs(2);

/// Asks for every name once, so that a start does not begin with endpoints that lead nowhere. Waits
/// two seconds at most.
pub async fn resolve_now(control: &Shared) {
    let hosts = control.borrow().model.hosts();
    let mut asking = JoinSet::new();
    for host in hosts {
        asking.spawn_local(async move { (host.clone(), ask(&host).await) });
    }
    let _ = timeout(AT_START, async {
        while let Some(answer) = asking.join_next().await {
            if let Ok((host, answer)) = answer {
                control.borrow_mut().see(Sight::Resolved(host, answer));
            }
        }
    })
    .await;
}

/// Asks for every name of a config that is not in force yet.
pub async fn resolved(settings: &Arc<Settings>) -> Vec<Sight> {
    let hosts = Model::new(settings.clone(), None).hosts();
    let mut asking = JoinSet::new();
    for host in hosts {
        asking.spawn_local(async move { Sight::Resolved(host.clone(), ask(&host).await) });
    }
    let mut answers = Vec::new();
    let _ = timeout(AT_START, async {
        while let Some(answer) = asking.join_next().await {
            answers.extend(answer);
        }
    })
    .await;
    answers
}

/// Keeps a task for every host name that an endpoint has.
pub async fn keep_resolving(control: Shared) {
    let mut changes = control.borrow().changes();
    let mut running: BTreeMap<Arc<str>, AbortHandle> = BTreeMap::new();
    loop {
        let hosts = control.borrow().model.hosts();
        running.retain(|host, task| {
            let keep = hosts.contains(host);
            if !keep {
                task.abort();
            }
            keep
        });
        for host in hosts {
            running.entry(host).or_insert_with_key(|host| {
                spawn_local(resolve_forever(control.clone(), host.clone())).abort_handle()
            });
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn resolve_forever(control: Shared, host: Arc<str>) {
    loop {
        let answer = ask(&host).await;
        let pause = if answer.is_ok() { AGAIN } else { AFTER_FAILURE };
        control.borrow_mut().see(Sight::Resolved(host.clone(), answer));
        sleep(pause).await;
    }
}

async fn ask(host: &str) -> Result<Vec<IpAddr>, Arc<str>> {
    match timeout(PATIENCE, lookup_host((host, 0))).await {
        Ok(Ok(addresses)) => {
            let addresses: Vec<IpAddr> = addresses.map(|a| a.ip()).collect();
            if addresses.is_empty() { Err("no addresses".into()) } else { Ok(addresses) }
        }
        Ok(Err(error)) => Err(error.to_string().into()),
        Err(_) => Err("the name server does not answer".into()),
    }
}
