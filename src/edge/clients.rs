//! How many connections each client has.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::model::policy::rate::network_of;

/// The connections of a listener's clients, over all workers. Touched when a connection begins and
/// ends, and only where a limit is set.
#[derive(Debug, Default)]
pub struct Clients(Mutex<HashMap<IpAddr, u32>>);

/// A connection that is counted until it is dropped.
#[derive(Debug)]
pub struct Counted {
    clients: Arc<Clients>,
    client: IpAddr,
}

impl Clients {
    /// Counts a further connection of `address`. `None`: the client has `limit` already.
    pub fn enter(self: &Arc<Self>, address: IpAddr, limit: u32) -> Option<Counted> {
        let client = network_of(address);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(client).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Counted { clients: self.clone(), client })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.clients.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_so_many_connections_and_no_more() {
        let clients = Arc::new(Clients::default());
        let enter = |address: &str| clients.enter(address.parse().unwrap(), 2);
        let (one, two) = (enter("192.0.2.1"), enter("::ffff:192.0.2.1"));
        assert!(one.is_some() && two.is_some() && enter("192.0.2.1").is_none());
        assert!(enter("192.0.2.2").is_some());
        drop(one);
        assert!(enter("192.0.2.1").is_some());
        let _six = [enter("2001:db8::1"), enter("2001:db8::2")];
        assert!(enter("2001:db8::3").is_none() && enter("2001:db8:0:1::1").is_some());
        drop(two);
    }

    #[test]
    fn who_left_is_forgotten() {
        let clients = Arc::new(Clients::default());
        drop(clients.enter("192.0.2.1".parse().unwrap(), 1));
        assert!(clients.0.lock().unwrap().is_empty());
    }
}
