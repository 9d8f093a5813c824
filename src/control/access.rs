//! Who may do what through the admin socket.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use tokio::net::unix::UCred;

use crate::{
    api::Role,
    model::{
        Actor,
        settings::{Admin, Principal},
    },
};

/// Who is at the other end of the admin socket, and what they may do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Caller {
    /// Who.
    pub actor: Actor,
    /// What they may do.
    pub role: Role,
}

impl Caller {
    /// Root, who is known by number alone.
    pub fn root(credentials: &UCred) -> Option<Self> {
        let is_root = credentials.uid() == 0;
        is_root.then(|| Self { actor: actor("root".to_owned(), credentials), role: Role::Operator })
    }

    /// Judges a connection: lbd's own user may change things, others as `admin.operators` and
    /// `admin.viewers` say. Asks the system for names and groups, which may take its time.
    pub fn of(credentials: &UCred, admin: &Admin) -> Self {
        let uid = Uid::from_raw(credentials.uid());
        // A user that the system does not know has no name and no groups.
        let user = User::from_uid(uid).ok().flatten();
        let name = user.map_or_else(|| uid.to_string(), |user| user.name);
        let groups = groups(&name, Gid::from_raw(credentials.gid()));
        let among = |list: &[Principal]| {
            list.iter().any(|principal| match principal {
                Principal::User(wanted) => *wanted == name,
                Principal::Group(wanted) => groups.iter().any(|group| group == wanted),
            })
        };
        let role = if uid == Uid::effective() || among(&admin.operators) {
            Role::Operator
        } else if among(&admin.viewers) {
            Role::Viewer
        } else {
            Role::Anyone
        };
        Self { actor: actor(name, credentials), role }
    }

    /// Somebody who came over TCP, of whom nothing is known.
    pub fn stranger() -> Self {
        Self { actor: Actor { name: "tcp".into(), uid: None, pid: None }, role: Role::Anyone }
    }
}

fn actor(name: String, credentials: &UCred) -> Actor {
    Actor { name, uid: Some(credentials.uid()), pid: credentials.pid() }
}

fn groups(name: &str, primary: Gid) -> Vec<String> {
    let ids = CString::new(name).ok().and_then(|name| getgrouplist(&name, primary).ok());
    let ids = ids.unwrap_or_else(|| vec![primary]);
    ids.into_iter()
        .filter_map(|gid| Group::from_gid(gid).ok().flatten())
        .map(|group| group.name)
        .collect()
}
