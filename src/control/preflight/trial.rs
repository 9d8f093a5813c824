//! One check of one endpoint: the request, and what is made of the answer.

use std::{io, time::Duration};

use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use tokio::time::{Instant, timeout, timeout_at};

use super::super::dial::{Dialer, Stream, with_cause};
use crate::model::{Address, Millis, Target, preflight::Check, settings::Expect};

/// How much of an answer's body is read, in bytes. Nothing is waited for beyond it.
const BODY_MAX: usize = 256 * 1024;
/// How long an answer is waited for, unless its check allows more.
const PATIENCE: Millis = Millis::from_secs(10);
const AGENT: &str = concat!("lbd/", env!("CARGO_PKG_VERSION"), " (preflight)");
/// Methods whose requests say that they have no body, if they have none (RFC 9110, 8.6).
const WITH_BODY: [&str; 3] = ["POST", "PUT", "PATCH"];

/// Where checks are made.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// The endpoint.
    pub address: &'a Address,
    /// Where to connect to.
    pub target: &'a Target,
    /// How.
    pub dialer: &'a Dialer,
    /// The `Host` header of checks that have none.
    pub host: &'a str,
    /// How long a connection may take.
    pub connect: Millis,
}

/// What one check found.
#[derive(Debug)]
pub struct Trial {
    /// The status of a good answer, or what is wrong.
    pub result: Result<u16, Problem>,
    /// How long it took, with the connection.
    pub took: Duration,
}

/// Why a check failed.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Nobody is there.
    #[error("cannot connect: {0}")]
    Unreachable(io::Error),
    /// Nobody takes the connection.
    #[error("cannot connect within {0}")]
    NotTaken(Millis),
    /// The request cannot be written as HTTP.
    #[error("the check cannot be asked: {0}")]
    Senseless(#[from] http::Error),
    /// What came is not HTTP, or nothing came before the end.
    #[error("no HTTP answer: {0}")]
    NotHttp(String),
    /// Nothing came in time.
    #[error("no answer within {0}")]
    Silent(Millis),
    /// The answer began, but its end did not come in time.
    #[error("no end of the answer within {0}")]
    Endless(Millis),
    /// The answer ends before its end.
    #[error("the answer breaks off: {0}")]
    BrokenOff(String),
    /// The status is none of those that pass.
    #[error("answered status {status} where {expected} was expected")]
    Status {
        /// The status.
        status: u16,
        /// Those that pass.
        expected: Expect,
    },
    /// The text is not in it.
    #[error("the answer does not contain `{0}`")]
    Lacking(Box<str>),
    /// The text is not in the part that is read.
    #[error("the first 256 KiB of the answer do not contain `{0}`")]
    LackingSoFar(Box<str>),
    /// It came too late.
    #[error("took {took}, at most {allowed} is allowed")]
    Slow {
        /// How long it took.
        took: Millis,
        /// How long it may take.
        allowed: Millis,
    },
}

/// Makes one check.
pub async fn run(site: Site<'_>, check: &Check) -> Trial {
    let limit = check.max_latency.map_or(PATIENCE, |allowed| allowed.max(PATIENCE));
    run_within(limit, site, check).await
}

async fn run_within(limit: Millis, site: Site<'_>, check: &Check) -> Trial {
    let began = Instant::now();
    let answer = ask(began, limit, site, check).await;
    let took = began.elapsed();
    Trial { result: answer.and_then(|status| in_time(status, took, check.max_latency)), took }
}

/// Connects to an endpoint, as a check does.
pub async fn connect(site: Site<'_>) -> Result<Box<dyn Stream>, Problem> {
    let stream =
        timeout(site.connect.duration(), site.dialer.connect(site.address, site.target)).await;
    stream.map_err(|_| Problem::NotTaken(site.connect))?.map_err(Problem::Unreachable)
}

/// A span in words. Rounded up: what is beyond a limit also reads so.
pub fn rounded(took: Duration) -> Millis {
    Millis(u64::try_from(took.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
}

async fn ask(began: Instant, limit: Millis, site: Site<'_>, check: &Check) -> Result<u16, Problem> {
    let end = began + limit.duration();
    let request = request(site.host, check)?;
    let stream = connect(Site { connect: site.connect.min(limit), ..site }).await?;
    let response = timeout_at(end, site.dialer.send(stream, request)).await;
    let (response, _connection) = response
        .map_err(|_| Problem::Silent(limit))?
        .map_err(|error| Problem::NotHttp(with_cause(&error)))?;
    let status = response.status().as_u16();
    if !check.expect.accepts(status) {
        return Err(Problem::Status { status, expected: check.expect.clone() });
    }
    let body = timeout_at(end, beginning(response.into_body())).await;
    let body = body
        .map_err(|_| Problem::Endless(limit))?
        .map_err(|error| Problem::BrokenOff(with_cause(&error)))?;
    contains(&body, check.body.as_deref())?;
    Ok(status)
}

fn request(host: &str, check: &Check) -> Result<Request<Full<Bytes>>, http::Error> {
    let data = check.data.as_deref().unwrap_or_default();
    let is_json = data.trim_start().starts_with(['{', '[']);
    let has_length = !data.is_empty() || WITH_BODY.contains(&&*check.method);
    let own = [
        ("host", Some(host.to_owned())),
        ("user-agent", Some(AGENT.to_owned())),
        ("content-type", is_json.then(|| "application/json".to_owned())),
        ("content-length", has_length.then(|| data.len().to_string())),
        ("connection", Some("close".to_owned())),
    ];
    let mut request = Request::builder().method(&*check.method).uri(&*check.path);
    for (name, value) in own {
        if let Some(value) = value.filter(|_| !check.headers.contains_key(name)) {
            request = request.header(name, value);
        }
    }
    for (name, value) in &check.headers {
        request = request.header(&**name, &**value);
    }
    request.body(Full::from(data.to_owned()))
}

/// The body, or as much of it as is looked at.
async fn beginning(mut body: Incoming) -> hyper::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < BODY_MAX
        && let Some(frame) = body.frame().await
    {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    bytes.truncate(BODY_MAX);
    Ok(bytes)
}

fn contains(body: &[u8], wanted: Option<&str>) -> Result<(), Problem> {
    let Some(wanted) = wanted else { return Ok(()) };
    if memchr::memmem::find(body, wanted.as_bytes()).is_some() {
        return Ok(());
    }
    let lacking = if body.len() < BODY_MAX { Problem::Lacking } else { Problem::LackingSoFar };
    Err(lacking(wanted.into()))
}

fn in_time(status: u16, took: Duration, allowed: Option<Millis>) -> Result<u16, Problem> {
    match allowed {
        Some(allowed) if took > allowed.duration() => {
            Err(Problem::Slow { took: rounded(took), allowed })
        }
        Some(_) | None => Ok(status),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{Arc, LazyLock},
    };

    use super::{
        super::fake::{Fake, Reply, crowded, local, nobody},
        *,
    };

    /// Long enough never to be met.
    const LONG: Millis = Millis::from_secs(60);

    fn check(method: &str, path: &str) -> Check {
        Check {
            method: method.into(),
            path: path.into(),
            headers: BTreeMap::new(),
            data: None,
            expect: Expect(vec![(200, 299)]),
            body: None,
            max_latency: None,
        }
    }

    fn get() -> Check {
        check("GET", "/health")
    }

    fn containing(text: &str) -> Check {
        Check { body: Some(text.into()), ..get() }
    }

    /// An endpoint that is spoken to in plain HTTP/1.
    fn site(target: &Target, connect: Millis) -> Site<'_> {
        static PLAIN: LazyLock<(Address, Dialer)> =
            LazyLock::new(|| ("app:80".parse().unwrap(), Dialer::new(Arc::default())));
        let (address, dialer) = &*PLAIN;
        Site { address, target, dialer, host: "app:80", connect }
    }

    async fn tried(target: &Target, check: &Check, limit: Millis) -> Trial {
        run_within(limit, site(target, LONG), check).await
    }

    /// What one check makes of one answer.
    fn found(reply: Reply, check: &Check) -> Result<u16, Problem> {
        local(async {
            let fake = Fake::tcp([reply]).await;
            tried(&fake.target, check, LONG).await.result
        })
    }

    fn problem(reply: Reply, check: &Check) -> String {
        found(reply, check).unwrap_err().to_string()
    }

    #[test]
    fn a_good_answer_passes_and_is_timed() {
        local(async {
            let fake = Fake::tcp([Reply::ok()]).await;
            let trial = run(site(&fake.target, LONG), &containing("health")).await;
            assert_eq!(trial.result.unwrap(), 200);
            assert!(trial.took > Duration::ZERO);
        });
    }

    #[test]
    fn a_status_that_is_not_expected_fails() {
        let reply = || Reply::status("500 Oops", "healthy");
        let text = "answered status 500 where 200-299 was expected";
        assert_eq!(problem(reply(), &containing("healthy")), text);
        let expect = Expect(vec![(201, 201), (500, 500)]);
        assert_eq!(found(reply(), &Check { expect, ..get() }).unwrap(), 500);
    }

    #[test]
    fn an_answer_without_the_text_fails() {
        let wrong = problem(Reply::status("200 OK", "ill"), &containing("healthy"));
        assert_eq!(wrong, "the answer does not contain `healthy`");
        assert!(found(Reply::status("204 No Content", ""), &containing("x")).is_err());
    }

    #[test]
    fn the_text_is_found_across_chunks() {
        let reply = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
                     4\r\nheal\r\n3\r\nthy\r\n0\r\n\r\n";
        assert_eq!(found(Reply::new(reply), &containing("healthy")).unwrap(), 200);
    }

    #[test]
    fn an_answer_without_length_ends_with_the_connection() {
        let reply = "HTTP/1.0 200 OK\r\n\r\nhealthy";
        assert_eq!(found(Reply::new(reply), &containing("healthy")).unwrap(), 200);
    }

    #[test]
    fn an_answer_that_breaks_off_fails() {
        let length = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhealthy";
        let chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nheal\r\n";
        for reply in [length, chunks] {
            let problem = problem(Reply::new(reply), &get());
            assert!(problem.starts_with("the answer breaks off: "), "{problem}");
        }
    }

    #[test]
    fn what_is_not_http_fails() {
        for reply in ["SSH-2.0-OpenSSH_9.6\r\n", ""] {
            let problem = problem(Reply::new(reply), &get());
            assert!(problem.starts_with("no HTTP answer: "), "{problem}");
        }
    }

    #[test]
    fn an_answer_to_head_has_no_body() {
        let reply = "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n";
        assert_eq!(found(Reply::new(reply), &check("HEAD", "/")).unwrap(), 200);
    }

    /// Method: the server has the request and answers only when more than the limit has passed since.
    #[test]
    fn a_late_answer_fails_and_says_how_late() {
        local(async {
            let mut fake = Fake::tcp([Reply::held("HTTP/1.1 204 No Content\r\n\r\n")]).await;
            let target = fake.target.clone();
            let check = Check { max_latency: Some(Millis(1)), ..get() };
            let mut trial = Box::pin(tried(&target, &check, LONG));
            tokio::select! {
                trial = &mut trial => panic!("{trial:?}"),
                _ = fake.request() => {}
            }
            timeout(Duration::from_millis(3), &mut trial).await.unwrap_err();
            fake.release();
            let problem = trial.await.result.unwrap_err();
            let Problem::Slow { took, allowed } = &problem else { panic!("{problem}") };
            assert!(*took >= Millis(3) && *allowed == Millis(1));
            assert_eq!(problem.to_string(), format!("took {took}, at most 1ms is allowed"));
        });
    }

    #[test]
    fn what_is_just_too_late_does_not_read_as_if_it_were_in_time() {
        let result = in_time(200, Duration::from_micros(500_001), Some(Millis(500)));
        assert_eq!(result.unwrap_err().to_string(), "took 501ms, at most 500ms is allowed");
        assert!(in_time(200, Duration::from_millis(500), Some(Millis(500))).is_ok());
    }

    #[test]
    fn nobody_there() {
        local(async {
            let (target, _kept) = nobody();
            let problem = tried(&target, &get(), LONG).await.result.unwrap_err();
            assert!(matches!(problem, Problem::Unreachable(_)), "{problem}");
            assert!(problem.to_string().starts_with("cannot connect: Connection refused"));
        });
    }

    #[test]
    fn a_connection_that_is_not_made_in_time_fails() {
        local(async {
            let (target, _kept) = crowded().await;
            let problem = run(site(&target, Millis(30)), &get()).await.result.unwrap_err();
            assert_eq!(problem.to_string(), "cannot connect within 30ms");
        });
    }

    #[test]
    fn an_answer_that_does_not_come_or_end_is_given_up() {
        local(async {
            let fake = Fake::tcp([
                Reply::open(""),
                Reply::open("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nheal"),
            ])
            .await;
            for expected in ["no answer within 250ms", "no end of the answer within 250ms"] {
                let problem = tried(&fake.target, &get(), Millis(250)).await.result.unwrap_err();
                assert_eq!(problem.to_string(), expected);
            }
        });
    }

    #[test]
    fn method_path_headers_and_data_arrive() {
        local(async {
            let mut fake = Fake::tcp([Reply::ok()]).await;
            let headers = [("host", "www.example.com"), ("x-token", "a b")];
            let check = Check {
                headers: headers.map(|(name, value)| (name.into(), value.into())).into(),
                data: Some(" {\"user\": \"ada\"}".into()),
                ..check("POST", "/login?x=1")
            };
            tried(&fake.target, &check, LONG).await.result.unwrap();
            let request = fake.request().await;
            let (head, data) = request.split_once("\r\n\r\n").unwrap();
            assert_eq!(data, " {\"user\": \"ada\"}");
            let mut lines = head.split("\r\n");
            assert_eq!(lines.next(), Some("POST /login?x=1 HTTP/1.1"));
            let mut headers: Vec<_> = lines.filter(|l| !l.starts_with("user-agent")).collect();
            headers.sort_unstable();
            let expected = [
                "connection: close",
                "content-length: 16",
                "content-type: application/json",
                "host: www.example.com",
                "x-token: a b",
            ];
            assert_eq!(headers, expected);
        });
    }

    /// What is sent for a check's data and own type, as far as lines with `content` go.
    fn content(check: Check) -> Vec<String> {
        let request = request("app:80", &check).unwrap();
        assert_eq!(request.headers()["host"], "app:80");
        let named = request.headers().iter().filter(|(name, _)| name.as_str().contains("content"));
        named.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    #[test]
    fn the_type_of_data_is_said_only_of_json_without_a_type() {
        let with = |data: &str| Check { data: Some(data.into()), ..check("POST", "/") };
        let json = ["content-type: application/json", "content-length: 2"];
        assert_eq!(content(with("{}")), json);
        assert_eq!(content(with("[]")), json);
        assert_eq!(content(with("a=b")), ["content-length: 3"]);
        let headers = BTreeMap::from([("content-type".into(), "text/json".into())]);
        let typed = Check { headers, ..with("{}") };
        assert_eq!(content(typed), ["content-length: 2", "content-type: text/json"]);
    }

    #[test]
    fn only_requests_that_may_have_a_body_say_that_they_have_none() {
        assert_eq!(content(check("POST", "/")), ["content-length: 0"]);
        assert_eq!(content(get()), [""; 0]);
    }

    #[test]
    fn a_post_without_data_says_so_on_the_wire() {
        local(async {
            let mut fake = Fake::tcp([Reply::ok()]).await;
            tried(&fake.target, &check("POST", "/"), LONG).await.result.unwrap();
            assert!(fake.request().await.contains("content-length: 0\r\n"));
        });
    }

    #[test]
    fn a_path_that_http_cannot_carry_fails() {
        let problem = problem(Reply::ok(), &check("GET", "/a<b"));
        assert!(problem.starts_with("the check cannot be asked: "), "{problem}");
    }

    #[test]
    fn only_the_beginning_of_a_long_answer_is_read() {
        // Its end never comes, and is not waited for.
        let long = |text: &str| {
            let body = "x".repeat(BODY_MAX - 3) + text;
            Reply::open(&format!("HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n{body}"))
        };
        assert_eq!(found(long("abcd"), &get()).unwrap(), 200);
        assert_eq!(found(long("abcd"), &containing("abc")).unwrap(), 200);
        let expected = "the first 256 KiB of the answer do not contain `abcd`";
        assert_eq!(problem(long("abcd"), &containing("abcd")), expected);
    }

    #[test]
    fn unix_sockets_are_checked_too() {
        local(async {
            let folder = tempfile::tempdir().unwrap();
            let fake = Fake::unix(&folder.path().join("app.sock"), [Reply::ok()]);
            let trial = tried(&fake.target, &containing("healthy"), LONG).await;
            assert_eq!(trial.result.unwrap(), 200);
            let nowhere = Target::Unix(folder.path().join("no.sock").into());
            let problem = tried(&nowhere, &get(), LONG).await.result.unwrap_err();
            assert!(matches!(problem, Problem::Unreachable(_)), "{problem}");
        });
    }
}
