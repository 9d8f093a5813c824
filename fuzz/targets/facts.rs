//! Whatever a request says of itself, the decision is in range and repeatable, nobody gets to a pool
//! with 0 % without a pin, and who goes by bucket has a bucket of that pool.
#![no_main]

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, LazyLock},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use lbd::{
    config,
    model::{Draw, Facts, Model, Outcome, Rule, Share, Snapshot, decide},
};
use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};

const CONFIG: &str = r#"
[listener.http]
address = "127.0.0.1:0"

# Every source of ids, and a pool that nobody may reach by bucket or draw.
[service.ladder]
hosts = ["a"]
user_id = ["header:X-User-Id", "cookie:uid", "query:uid", "jwt:sub"]
baseline = "blue"
[service.ladder.pool.blue]
endpoints = ["127.0.0.1:1"]
weight = 75
[service.ladder.pool.green]
endpoints = ["127.0.0.1:2"]
weight = 25
[service.ladder.pool.grey]
endpoints = ["127.0.0.1:3"]
weight = 0

[service.pinned]
hosts = ["*.b"]
paths = ["/p"]
anonymous = "cookie"
pin = { name = "x-pin", secret = "opensesame" }
[service.pinned.pool.blue]
endpoints = ["127.0.0.1:1"]
[service.pinned.pool.green]
endpoints = ["127.0.0.1:2"]
weight = 0

[service.address]
anonymous = "baseline"
user_id = ["client-ip"]
[service.address.pool.blue]
endpoints = ["127.0.0.1:1"]
weight = 0
[service.address.pool.green]
endpoints = ["127.0.0.1:2"]
weight = 100
"#;

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let settings = config::check(CONFIG, &|_| Ok(String::new())).expect("the config is right");
    Model::new(Arc::new(settings), None).snapshot()
});

#[derive(Arbitrary, Debug)]
enum Host<'a> {
    Ladder,
    Pinned,
    Any(&'a str),
}

/// Header values that get past the first look, and any others.
#[derive(Arbitrary, Debug)]
enum Header<'a> {
    UserId(&'a str),
    Cookie(&'a str, &'a str),
    IssuedId(u64),
    Token(&'a str),
    Pin(&'a str, bool),
    Any(&'a str, &'a str),
}

impl Header<'_> {
    fn pair(&self) -> (String, String) {
        let (name, value) = match self {
            Self::UserId(id) => ("X-User-Id", (*id).to_owned()),
            Self::Cookie(before, id) => ("cookie", format!("{before}; uid={id}")),
            Self::IssuedId(id) => ("cookie", format!("lbd_id={id:016x}")),
            Self::Token(claims) => {
                ("authorization", format!("Bearer e30.{}.x", URL_SAFE_NO_PAD.encode(claims)))
            }
            Self::Pin(pool, true) => ("x-pin", format!("{pool}:opensesame")),
            Self::Pin(pool, false) => ("x-pin", format!("{pool}:opensesam")),
            Self::Any(name, value) => (*name, (*value).to_owned()),
        };
        (name.to_owned(), value)
    }
}

#[derive(Arbitrary, Debug)]
struct Request<'a> {
    host: Host<'a>,
    path: &'a str,
    query: &'a str,
    client: u128,
    draw: u64,
    headers: Vec<Header<'a>>,
}

fuzz_target!(|request: Request<'_>| {
    let headers: Vec<(String, String)> = request.headers.iter().map(Header::pair).collect();
    let host = match request.host {
        Host::Ladder => "a",
        Host::Pinned => "x.b",
        Host::Any(host) => host,
    };
    let client = IpAddr::V6(Ipv6Addr::from_bits(request.client));
    let facts = Facts { host, path: request.path, query: request.query, client, headers: &headers };
    let draw = Draw(request.draw);
    let outcome = decide(&SNAPSHOT, &facts, draw);
    assert_eq!(outcome, decide(&SNAPSHOT, &facts, draw), "the same request was decided otherwise");
    let Outcome::Serve(at, placement) = outcome else { return };

    let service = &SNAPSHOT.services[at];
    let pool = &service.pools[placement.pool];
    assert!(placement.bucket.is_none_or(|bucket| bucket.number() < 10_000));
    match placement.rule {
        Rule::Pin => {
            let secret = |(name, value): &(String, String)| {
                let named =
                    name.eq_ignore_ascii_case("x-pin") || name.eq_ignore_ascii_case("cookie");
                named && value.contains(":opensesame")
            };
            assert!(headers.iter().any(secret), "pinned without the secret");
        }
        Rule::Bucket | Rule::Draw => {
            assert_ne!(pool.share, Share::NONE, "a pool with 0 % was chosen");
            let (from, to) = service.places.range(placement.pool);
            let bucket = placement.bucket.expect("these rules look at a bucket").number();
            assert!((from..to).contains(&bucket), "{bucket} is not in {from}..{to}");
        }
        Rule::Anonymous => assert_eq!(placement.pool, service.baseline),
        Rule::Allow | Rule::Deny => panic!("nobody is listed"),
    }
});
