//! `endpoint list`, `add`, `remove`, `drain`, `maint` and `ready`.

use super::{
    call::Call,
    client::{Client, POLL},
    exit::Trouble,
    grammar::{Endpoint, Leaving, Which},
    session::{Session, WAIT_LIMIT},
    status::{health, label},
    table::{
        Side::{Left, Right},
        Table,
    },
};
use crate::{
    api::{
        Op,
        types::{EndpointBody, EndpointList, EndpointStateBody},
    },
    model::{Changed, health::AdminState},
};

/// Does what was typed.
///
/// # Errors
///
/// As for [`super::client::Client::call`]; with `--wait` also if requests go on running.
pub async fn run(session: &mut Session<'_>, verb: Endpoint) -> Result<(), Trouble> {
    match verb {
        Endpoint::List { pool, services } => {
            let call = Call::new(Op::ListEndpoints).at(&pool).services(&services.names);
            let list: EndpointList = session.show(&call).await?.read()?;
            let lines = table(&list).lines(session.out.paint);
            match lines.is_empty() {
                true => session.out.lines([format!("{pool} has no endpoints")]),
                false => session.out.lines(lines),
            }
        }
        Endpoint::Add { which, weight } => add(session, which, weight).await,
        Endpoint::Remove { which, wait } => remove(session, &which, wait).await,
        Endpoint::Drain(leaving) => leave(session, &leaving, AdminState::Drain).await,
        Endpoint::Maint(leaving) => leave(session, &leaving, AdminState::Maint).await,
        Endpoint::Ready(which) => set(session, &which, AdminState::Ready).await.map(drop),
    }
}

async fn add(session: &mut Session<'_>, which: Which, weight: Option<u16>) -> Result<(), Trouble> {
    let call = Call::new(Op::AddEndpoint).at(&which.pool);
    let body = EndpointBody { address: which.address, weight, services: which.services.names };
    session.change(call.body(&body)?).await.map(drop)
}

async fn leave(session: &mut Session<'_>, args: &Leaving, to: AdminState) -> Result<(), Trouble> {
    set(session, &args.which, to).await?;
    if args.wait && !session.terms.dry_run { emptied(session, &args.which).await } else { Ok(()) }
}

async fn set(session: &mut Session<'_>, which: &Which, to: AdminState) -> Result<Changed, Trouble> {
    session.change(state_call(which, to)?).await
}

fn state_call(which: &Which, state: AdminState) -> Result<Call, Trouble> {
    let body = EndpointStateBody { state, services: which.services.names.clone() };
    Call::new(Op::SetEndpoint).at(&which.pool).at(&which.address).body(&body)
}

async fn remove(session: &mut Session<'_>, which: &Which, wait: bool) -> Result<(), Trouble> {
    if wait && !session.terms.dry_run {
        // Its reply is not printed: with --json there is one document, that of the removal.
        let drain = state_call(which, AdminState::Drain)?.on(&session.terms);
        let drained: Changed = session.client.call(&drain).await?.read()?;
        session.out.lines(super::change::lines(&drained))?;
        // What --if-revision asked for was true when the endpoint was drained.
        session.terms.if_revision = None;
        emptied(session, which).await?;
    }
    let call = Call::new(Op::RemoveEndpoint).at(&which.pool).at(&which.address);
    session.change(call.services(&which.services.names)).await.map(drop)
}

/// Waits until the endpoint has no running requests, and shows how many there are.
async fn emptied(session: &mut Session<'_>, which: &Which) -> Result<(), Trouble> {
    let limit = session.wait_limit(WAIT_LIMIT);
    let mut left = 0;
    let empty = async {
        loop {
            let now = running(&session.client, which).await?;
            if now == 0 {
                return Ok(());
            }
            if now != left {
                session.out.note(&requests(now));
                left = now;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    let empty = tokio::time::timeout(limit.duration(), empty).await;
    empty.unwrap_or_else(|_| Err(Trouble::StillWaiting { limit, left: requests(left) }))
}

async fn running(client: &Client, which: &Which) -> Result<u64, Trouble> {
    let call = Call::new(Op::ListEndpoints).at(&which.pool).services(&which.services.names);
    let list: EndpointList = client.call(&call).await?.read()?;
    let endpoints = list.services.iter().flat_map(|service| &service.endpoints);
    Ok(endpoints.filter(|e| e.address == which.address).map(|e| e.in_flight).sum())
}

fn requests(count: u64) -> String {
    format!("{count} request{} running", if count == 1 { "" } else { "s" })
}

fn table(list: &EndpointList) -> Table {
    let columns = [
        ("SERVICE", Left),
        ("ENDPOINT", Left),
        ("HEALTH", Left),
        ("WEIGHT", Right),
        ("RUNNING", Right),
        ("REQUESTS", Right),
        ("REASON", Left),
    ];
    let mut table = Table::new(0, &columns);
    for service in &list.services {
        for endpoint in &service.endpoints {
            table.row([
                service.service.to_string().into(),
                label(endpoint).into(),
                health(endpoint),
                endpoint.weight.into(),
                endpoint.in_flight.into(),
                endpoint.requests.into(),
                endpoint.reason.clone().into(),
            ]);
        }
    }
    table
}
