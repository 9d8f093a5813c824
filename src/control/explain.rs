//! Where a user goes, and why.

#![cfg_attr(
    not(test),
    expect(clippy::indexing_slicing, reason = "indexes come from the same snapshot")
)]

use crate::{
    api::types::{ExplainBody, Explained, Move},
    model::{
        Bucket, Draw, Facts, Outcome, Placement, Refusal, Rule, ServiceName, Share, Split, decide,
        decide::place_user,
        settings::IdSource,
        snapshot::{Service, Snapshot},
        split::Places,
    },
};

use super::Control;

impl Control {
    /// Explains where a user goes in each service, by id or by the request they would send.
    ///
    /// # Errors
    ///
    /// If a service is named that does not exist, or neither a user nor a request is given.
    pub fn explain(&self, body: &ExplainBody) -> Result<Vec<Explained>, Refusal> {
        if let Some(unknown) =
            body.services.iter().find(|s| !self.model.state.services.contains_key(*s))
        {
            return Err(Refusal::UnknownService(unknown.clone()));
        }
        if body.user.is_none()
            && body.headers.is_empty()
            && body.client.is_none()
            && body.path.is_none()
        {
            return Err(Refusal::Senseless {
                problem: "there is nothing to explain".into(),
                hint: "give a user with --user, or a request with --header, --path or --client",
            });
        }
        let snapshot = self.model.snapshot();
        let wanted = |name: &ServiceName| body.services.is_empty() || body.services.contains(name);
        let services = snapshot.services.iter().filter(|s| wanted(&s.name));
        Ok(services.map(|service| self.explained(&snapshot, service, body)).collect())
    }

    fn explained(&self, snapshot: &Snapshot, service: &Service, body: &ExplainBody) -> Explained {
        let (user, placement) = match &body.user {
            Some(user) => (Some(user.clone()), place_user(service, user)),
            None => by_request(snapshot, service, body),
        };
        let drawn = placement.rule == Rule::Draw || placement.new_id.is_some();
        let pool = Some(&service.pools[placement.pool]).filter(|_| !drawn);
        let bucket = placement.bucket.filter(|_| !drawn);
        Explained {
            service: service.name.clone(),
            user,
            salt: service.salt.to_string(),
            bucket: bucket.map(Bucket::number),
            pool: pool.map(|p| p.name.clone()),
            share: pool.map(|p| p.share),
            rule: if drawn { Rule::Draw } else { placement.rule },
            moves: match (placement.rule, bucket) {
                (Rule::Bucket, Some(bucket)) => self.moves(service, placement.pool, bucket),
                (
                    Rule::Pin
                    | Rule::Allow
                    | Rule::Deny
                    | Rule::Draw
                    | Rule::Anonymous
                    | Rule::Bucket,
                    _,
                ) => Vec::new(),
            },
        }
    }

    /// At which share of each other pool the bucket would belong to it.
    fn moves(&self, service: &Service, pool: usize, bucket: Bucket) -> Vec<Move> {
        let Some(state) = self.model.state.services.get(&service.name) else { return Vec::new() };
        let owner = |split: &Split| {
            let shares: Vec<Share> = split.iter().map(|(_, share)| share).collect();
            Places::new(&shares, service.baseline).owner(bucket)
        };
        let others = service.pools.iter().enumerate().filter(|(n, _)| *n != pool);
        others
            .filter_map(|(n, other)| {
                let reaches = |points: u16| {
                    let share = Share::from_basis_points(points);
                    let split = state.split.with_share(&other.name, share, &state.baseline);
                    split.is_ok_and(|split| owner(&split) == n)
                };
                let at = smallest(reaches)?;
                Some(Move { pool: other.name.clone(), at: Share::from_basis_points(at) })
            })
            .collect()
    }
}

/// The smallest share, in basis points, that satisfies a monotonic `reaches`.
fn smallest(reaches: impl Fn(u16) -> bool) -> Option<u16> {
    let (mut low, mut high) = (0, Share::WHOLE.basis_points());
    if !reaches(high) {
        return None;
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if reaches(middle) { high = middle } else { low = middle + 1 }
    }
    Some(high)
}

fn by_request(
    snapshot: &Snapshot,
    service: &Service,
    body: &ExplainBody,
) -> (Option<String>, Placement) {
    let target = body.path.as_deref().unwrap_or("/");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let client = body.client.unwrap_or(std::net::Ipv4Addr::LOCALHOST.into());
    let facts = Facts { host: "", path, query, client, headers: &body.headers };
    let ladder: &[IdSource] = &service.settings.user_id;
    let user = facts.user_id(ladder).map(|id| id.into_owned());
    // Of this service alone, whatever host and maintenance say.
    let alone = Service { maintenance: None, ..service.clone() };
    let mut routes = crate::model::route::Routes::default();
    // One service cannot be in conflict with itself over no hosts and no paths.
    let _ = routes.add(0, &[], &[]);
    let only =
        Snapshot { routes: routes.into(), services: [alone.into()].into(), ..snapshot.clone() };
    match decide(&only, &facts, Draw(0)) {
        Outcome::Serve(_, placement) => (user, placement),
        Outcome::Unrouted(_) | Outcome::Maintenance(..) => (
            user,
            Placement {
                pool: service.baseline,
                rule: Rule::Anonymous,
                bucket: None,
                user: None,
                new_id: None,
            },
        ),
    }
}
