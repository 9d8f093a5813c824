//! `explain`: where a user goes, and why.

use super::{call::Call, exit::Trouble, grammar::ExplainArgs, session::Session, table::wrapped};
use crate::{
    api::{
        Op,
        types::{ExplainBody, Explained},
    },
    model::{PoolName, Rule},
};

/// Asks and prints.
///
/// # Errors
///
/// As for [`super::client::Client::call`].
pub async fn run(session: &mut Session<'_>, args: ExplainArgs) -> Result<(), Trouble> {
    let body = ExplainBody {
        user: args.user,
        services: args.services.names,
        headers: args.header,
        path: args.path,
        client: args.client,
    };
    let reply = session.show(&Call::new(Op::Explain).body(&body)?).await?;
    let explained: Vec<Explained> = reply.read()?;
    session.out.lines(explained.iter().flat_map(render))
}

/// `app: alice goes to green (25%), by the bucket 1234` and what else is to be said.
fn render(explained: &Explained) -> Vec<String> {
    let who = explained.user.as_deref().unwrap_or("who has no id");
    let goes = match (&explained.pool, explained.share) {
        (Some(pool), Some(share)) => format!("goes to {pool} ({share})"),
        (Some(pool), None) => format!("goes to {pool}"),
        (None, _) => "goes to a pool drawn by weight for every request".into(),
    };
    let why = reason(explained.rule);
    let mut lines = wrapped(0, &format!("{}: {who} {goes}: {why}", explained.service));
    if let Some(bucket) = explained.bucket {
        let salt = &explained.salt;
        lines.push(format!("  bucket {bucket} of 10000, salt `{salt}`"));
    }
    let moves = explained.moves.iter().map(|m| at_share(&m.pool, &m.at.to_string()));
    lines.extend(moves);
    lines
}

fn at_share(pool: &PoolName, share: &str) -> String {
    format!("  belongs to {pool} from {share} on")
}

const fn reason(rule: Rule) -> &'static str {
    match rule {
        Rule::Pin => "a pin chooses the pool",
        Rule::Allow => "the pool's allow list has the user",
        Rule::Deny => "the deny list of the pool that owns the bucket has the user",
        Rule::Bucket => "the pool owns the user's bucket",
        Rule::Draw => "there is no user id, so chance decides",
        Rule::Anonymous => "there is no user id, so it is the baseline",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(json: &str) -> Vec<String> {
        render(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn a_user_with_an_id() {
        let lines = rendered(
            r#"{"service":"app","user":"alice","salt":"lbd","bucket":4512,"pool":"blue",
                "share":"75%","rule":"bucket","moves":[{"pool":"green","at":"45.13%"}]}"#,
        );
        assert_eq!(
            lines,
            [
                "app: alice goes to blue (75%): the pool owns the user's bucket",
                "  bucket 4512 of 10000, salt `lbd`",
                "  belongs to green from 45.13% on",
            ]
        );
    }

    #[test]
    fn a_request_without_id() {
        let lines = rendered(r#"{"service":"app","salt":"lbd","rule":"draw"}"#);
        assert!(
            lines.len() == 2 && lines[0].starts_with("app: who has no id goes to a pool drawn")
        );
    }
}
