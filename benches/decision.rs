//! What it costs to decide where a request goes: route, bucket, and the choice of an endpoint.
//!
//! Target: below 200 ns for a user with an id in a header. Services have hosts of their own, and two
//! pools of two endpoints.

use std::{fmt::Write, hint::black_box, net::IpAddr, sync::Arc};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, header};
use lbd::{
    config,
    model::{
        Draw, EndpointKey, Facts, Headers, Model, Outcome, Snapshot, decide,
        snapshot::{Pool, Service},
    },
    proxy::choose::{Choice, Field, Tried},
    tally::Tallies,
    view::{PoolView, ServiceView},
};

/// How many services there are.
const SERVICES: [usize; 3] = [1, 100, 1000];
/// How often a request may be attempted in a pool.
const ATTEMPTS: usize = 3;

/// Headers as the request path holds them.
struct Map(HeaderMap);

impl Map {
    /// The headers of a browser, and the `extra` one.
    fn of_a_browser(extra: Option<(&'static str, &'static str)>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("s0.example.com"));
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static("Mozilla/5.0 (X11; Linux x86_64)"),
        );
        headers.insert(header::ACCEPT, HeaderValue::from_static("text/html,application/xhtml+xml"));
        headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static("en;q=0.8"));
        if let Some((name, value)) = extra {
            headers.insert(name, HeaderValue::from_static(value));
        }
        Self(headers)
    }
}

impl Headers for Map {
    fn first(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(|value| value.to_str().ok())
    }

    fn find<'a, R>(&'a self, name: &str, visit: impl FnMut(&'a str) -> Option<R>) -> Option<R> {
        self.0.get_all(name).iter().filter_map(|value| value.to_str().ok()).find_map(visit)
    }
}

/// A snapshot, and what belongs to its services.
struct World {
    snapshot: Snapshot,
    services: Vec<ServiceView>,
}

impl World {
    fn of(services: usize) -> Self {
        let mut text = String::from("[listener.http]\naddress = \"127.0.0.1:0\"\n");
        for n in 0..services {
            write!(
                text,
                r#"
                [service.s{n}]
                hosts = ["s{n}.example.com"]
                baseline = "blue"
                user_id = ["header:X-User-Id", "cookie:uid"]
                [service.s{n}.pool.blue]
                endpoints = ["127.0.0.1:9000", "127.0.0.1:9001"]
                [service.s{n}.pool.green]
                endpoints = ["127.0.0.1:9002", "127.0.0.1:9003"]
                weight = 25
                "#
            )
            .unwrap();
        }
        let settings = config::check(&text, &|_| Ok(String::new())).unwrap();
        let snapshot = Model::new(Arc::new(settings), None).snapshot();
        let mut tallies = Tallies::new(1);
        let services =
            snapshot.services.iter().map(|service| view(service, &mut tallies)).collect();
        Self { snapshot, services }
    }

    fn route_and_choose(&self, headers: &Map, draw: Draw) -> Option<Choice> {
        let client = IpAddr::from([192, 0, 2, 7]);
        let facts = Facts { host: "s0.example.com", path: "/account", query: "", client, headers };
        match decide(&self.snapshot, &facts, draw) {
            Outcome::Serve(at, placement) => {
                let (service, view) = (&*self.snapshot.services[at], &self.services[at]);
                let field = Field { service, view, worker: 0 };
                field.choose(placement.pool, &Tried::default(), ATTEMPTS, draw.another())
            }
            Outcome::Unrouted(_) | Outcome::Maintenance(..) => None,
        }
    }
}

fn view(service: &Service, tallies: &mut Tallies) -> ServiceView {
    let mut pool = |pool: &Pool| PoolView {
        bulkhead: None,
        tally: tallies.pool(&service.name, &pool.name),
        endpoints: pool
            .endpoints
            .iter()
            .map(|endpoint| {
                tallies.endpoint(&EndpointKey {
                    service: service.name.clone(),
                    pool: pool.name.clone(),
                    address: endpoint.address.clone(),
                    target: endpoint.target.clone(),
                })
            })
            .collect(),
    };
    let pools = service.pools.iter().map(&mut pool).collect();
    let (own, guard) = (tallies.own(&service.name), tallies.guard(&service.name));
    ServiceView { pools, own, guard, barrier: None, page: None, log: None }
}

fn decision(criterion: &mut Criterion) {
    let requests = [
        ("user by header", Map::of_a_browser(Some(("x-user-id", "user-4711")))),
        ("user by cookie", Map::of_a_browser(Some(("cookie", "theme=dark; uid=user-4711")))),
        ("random draw", Map::of_a_browser(None)),
    ];
    for (name, headers) in &requests {
        let mut group = criterion.benchmark_group(*name);
        for services in SERVICES {
            let world = World::of(services);
            assert!(world.route_and_choose(headers, Draw(1)).is_some());
            let mut draw = Draw(1);
            group.bench_function(BenchmarkId::from_parameter(services), |bencher| {
                bencher.iter(|| {
                    draw = draw.another();
                    black_box(world.route_and_choose(black_box(headers), draw))
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, decision);
criterion_main!(benches);
