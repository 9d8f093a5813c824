//! Who asks: 1,000 users, each again and again over the same few keep-alive connections.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use anyhow::Context;
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1::{SendRequest, handshake},
    header::{HOST, RETRY_AFTER},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    task::{JoinSet, spawn_local},
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};

use crate::{
    ledger::{self, Answer, Ledger, Side},
    origin::{SERVED_BY, USER},
};

/// How many users there are: `user-0` to `user-999`.
pub const USERS: usize = 1000;
/// How many connections they share.
pub const CONNECTIONS: usize = 40;
/// The time between two requests of a connection.
const PACE: Duration = Duration::from_millis(50);
/// How many requests all of them send in a second.
pub const RATE: u128 = CONNECTIONS as u128 * 1000 / PACE.as_millis();
/// The time in which every user asks once.
pub const ROUND: Duration = PACE.saturating_mul((USERS / CONNECTIONS) as u32);
/// An answer that takes longer is a failure.
const PATIENCE: Duration = Duration::from_secs(10);

type Sender = SendRequest<Empty<Bytes>>;

/// The traffic. Dropped, it stops at once; [`Load::end`] lets running requests finish.
#[derive(Debug)]
pub struct Load {
    connections: JoinSet<()>,
    ending: Rc<Cell<bool>>,
}

impl Load {
    /// Starts the traffic towards `address`.
    pub fn start(address: SocketAddr, ledger: &Rc<RefCell<Ledger>>) -> Self {
        let ending = Rc::new(Cell::new(false));
        let mut connections = JoinSet::new();
        for connection in 0..CONNECTIONS {
            connections.spawn_local(drive(connection, address, ledger.clone(), ending.clone()));
        }
        Self { connections, ending }
    }

    /// Ends the traffic after the requests that are running.
    pub async fn end(mut self) -> anyhow::Result<()> {
        self.ending.set(true);
        while let Some(ended) = self.connections.join_next().await {
            ended.context("the load broke off")?;
        }
        Ok(())
    }
}

/// Sends the requests of one connection's users, in turn.
async fn drive(
    connection: usize,
    address: SocketAddr,
    ledger: Rc<RefCell<Ledger>>,
    ending: Rc<Cell<bool>>,
) {
    let offset = PACE.mul_f64(connection as f64 / CONNECTIONS as f64);
    let mut ticks = interval_at(Instant::now() + offset, PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sender = None;
    for user in (connection..USERS).step_by(CONNECTIONS).cycle() {
        ticks.tick().await;
        if ending.get() {
            return;
        }
        let begun = Instant::now().into_std();
        let answer = match timeout(PATIENCE, ask(&mut sender, address, user, &ledger)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Answer::Failed(format!("{error:#}")),
            Err(_) => Answer::Failed("no answer in time".into()),
        };
        if matches!(answer, Answer::Failed(_)) {
            sender = None;
        }
        ledger.borrow_mut().record(&ledger::Request { user, begun, answer });
    }
}

async fn ask(
    kept: &mut Option<Sender>,
    address: SocketAddr,
    user: usize,
    ledger: &RefCell<Ledger>,
) -> anyhow::Result<Answer> {
    let usable = match kept {
        Some(sender) => sender.ready().await.is_ok(),
        None => false,
    };
    if !usable {
        if kept.take().is_some() {
            ledger.borrow_mut().reconnected();
        }
        *kept = Some(connect(address).await?);
    }
    let sender = kept.as_mut().context("connected a moment ago")?;
    let request = Request::get("/hello")
        .header(HOST, "shop.example")
        .header(USER, format!("user-{user}"))
        .body(Empty::new())?;
    let response = sender.send_request(request).await?;
    read(response).await
}

async fn connect(address: SocketAddr) -> anyhow::Result<Sender> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // An error on the connection shows at the request it hits.
    spawn_local(async { drop(connection.await) });
    Ok(sender)
}

async fn read(response: Response<Incoming>) -> anyhow::Result<Answer> {
    let (head, body) = response.into_parts();
    let text = body.collect().await?.to_bytes();
    let served_by = head.headers.get(SERVED_BY);
    let side = Side::ALL.into_iter().find(|side| served_by.is_some_and(|by| by == side.name()));
    Ok(match (head.status, side) {
        (StatusCode::OK, Some(side))
            if text.ends_with(format!("{}.\n", side.name()).as_bytes()) =>
        {
            Answer::From(side)
        }
        (StatusCode::SERVICE_UNAVAILABLE, None) if head.headers.contains_key(RETRY_AFTER) => {
            Answer::Page
        }
        (status, _) => Answer::Failed(format!("status {status}")),
    })
}
