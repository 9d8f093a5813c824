//! `notify list` and `notify test`.

use super::{
    call::Call,
    exit::{Exit, Trouble},
    grammar::Notify,
    session::{NOTICE_LIMIT, Session},
    table::{
        Cell,
        Side::{Left, Right},
        Table, Tone,
    },
};
use crate::{
    api::{
        Op,
        release::{NoBody, NotifyTest, ReceiverList, ReceiverStatus},
    },
    model::units::ReceiverName,
};

/// Does what was typed.
///
/// # Errors
///
/// As for [`super::client::Client::call`]; for `test` if the receiver did not take the notice.
pub async fn run(session: &mut Session<'_>, verb: Notify) -> Result<(), Trouble> {
    match verb {
        Notify::List => {
            let call = Call::new(Op::ListReceivers);
            let list: ReceiverList = session.show(&call).await?.read()?;
            let lines = table(&list.receivers).lines(session.out.paint);
            match lines.is_empty() {
                true => session.out.lines(["nobody is told of events; see [[notify]]"]),
                false => session.out.lines(lines),
            }
        }
        Notify::Test { name } => test(session, &name).await,
    }
}

async fn test(session: &mut Session<'_>, name: &ReceiverName) -> Result<(), Trouble> {
    session.allow(NOTICE_LIMIT);
    let call = Call::new(Op::TestReceiver).at(name).body(&NoBody {})?;
    let test: NotifyTest = session.show(&call).await?.read()?;
    if test.sent {
        return session.out.lines([format!("{name} took the notice")]);
    }
    let problem = format!("{name} did not take the notice: {}", test.problem);
    let hint = "see its section [[notify]] in the config file";
    Err(Trouble::EndedOtherwise { exit: Exit::Failed, problem, hint })
}

fn table(receivers: &[ReceiverStatus]) -> Table {
    let columns = [
        ("NAME", Left),
        ("KIND", Left),
        ("SENT", Right),
        ("FAILED", Right),
        ("DROPPED", Right),
        ("WAITING", Right),
        ("PROBLEM", Left),
    ];
    let mut table = Table::new(0, &columns);
    let bad = |count: u64| match count {
        0 => count.into(),
        _ => Cell::toned(Tone::Bad, count.to_string()),
    };
    for receiver in receivers {
        table.row([
            receiver.name.to_string().into(),
            receiver.kind.clone().into(),
            receiver.sent.into(),
            bad(receiver.failed),
            bad(receiver.dropped),
            receiver.waiting.into(),
            receiver.problem.clone().into(),
        ]);
    }
    table
}
