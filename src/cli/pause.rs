//! `pause` and `resume` of traffic.

use super::{
    call::Call,
    exit::Trouble,
    grammar::{PauseArgs, Services},
    session::Session,
};
use crate::api::{Op, release::PauseBody};

/// Holds new requests.
///
/// # Errors
///
/// As for [`super::client::Client::call`].
pub async fn pause(session: &mut Session<'_>, args: PauseArgs) -> Result<(), Trouble> {
    let body = PauseBody { services: args.services.names, max: args.max };
    session.change(Call::new(Op::Pause).body(&body)?).await.map(drop)
}

/// Lets held requests go on.
///
/// # Errors
///
/// As for [`super::client::Client::call`].
pub async fn resume(session: &mut Session<'_>, services: Services) -> Result<(), Trouble> {
    session.change(Call::new(Op::Resume).services(&services.names)).await.map(drop)
}
