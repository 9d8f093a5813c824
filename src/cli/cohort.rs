//! `cohort list`, `add` and `remove`.

use std::io::{BufRead, BufReader, Read};

use super::{
    call::Call,
    exit::Trouble,
    grammar::{Cohort, CohortArgs},
    session::Session,
};
use crate::{
    api::{
        Op,
        types::{CohortBody, CohortList},
    },
    model::cohort::List,
};

/// Most bytes that are read from standard input.
const INPUT_BYTES_MAX: u64 = 64 << 20;
/// What stands for standard input.
const STDIN: &str = "-";

/// Does what was typed.
///
/// # Errors
///
/// As for [`super::client::Client::call`].
pub async fn run(session: &mut Session<'_>, verb: Cohort) -> Result<(), Trouble> {
    match verb {
        Cohort::List { pool } => {
            let call = Call::new(Op::ListCohort).at(&pool);
            let list: CohortList = session.show(&call).await?.read()?;
            session.out.lines(render(&list))
        }
        Cohort::Add(args) => change(session, Op::AddToCohort, args).await,
        Cohort::Remove(args) => change(session, Op::RemoveFromCohort, args).await,
    }
}

async fn change(session: &mut Session<'_>, op: Op, args: CohortArgs) -> Result<(), Trouble> {
    let users = users(args.users, std::io::stdin().lock())?;
    let list = if args.deny { List::Deny } else { List::Allow };
    let call = Call::new(op).at(&args.pool).body(&CohortBody { list, users })?;
    session.change(call).await.map(drop)
}

/// The ids that were typed, with those of `input` in the place of `-`.
fn users(typed: Vec<String>, input: impl Read) -> Result<Vec<String>, Trouble> {
    let mut input = BufReader::new(input.take(INPUT_BYTES_MAX));
    let mut users = Vec::new();
    for user in typed {
        if user != STDIN {
            users.push(user);
            continue;
        }
        for line in input.by_ref().lines() {
            let line = line?;
            if !line.trim().is_empty() {
                users.push(line.trim().to_owned());
            }
        }
    }
    Ok(users)
}

/// One user a line, after the name of the list, so that `grep` and `wc` can be used.
fn render(list: &CohortList) -> Vec<String> {
    let allow = list.allow.iter().map(|user| format!("allow  {user}"));
    let deny = list.deny.iter().map(|user| format!("deny   {user}"));
    let lines: Vec<String> = allow.chain(deny).collect();
    if lines.is_empty() { vec!["nobody is listed".into()] } else { lines }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dash_reads_ids_from_standard_input() {
        let typed = ["a", "-", "b"].map(String::from).to_vec();
        let users = users(typed, "c\n\n d \r\n".as_bytes()).unwrap();
        assert_eq!(users, ["a", "c", "d", "b"]);
    }

    #[test]
    fn lists_print_one_user_a_line() {
        let list = CohortList { allow: vec!["a".into()], deny: vec!["b".into()] };
        assert_eq!(render(&list), ["allow  a", "deny   b"]);
        assert_eq!(render(&CohortList::default()), ["nobody is listed"]);
    }
}
