//! Many users at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};

use lbd::model::{Bucket, Share};

use super::{Client, Lab, Request};

const THREADS: usize = 4;

/// Which origin answered each user.
#[derive(Debug, Eq, PartialEq)]
pub struct Crowd(pub BTreeMap<String, String>);

impl Crowd {
    /// The users who were answered by the origin with this label.
    pub fn on(&self, label: &str) -> BTreeSet<String> {
        self.0.iter().filter(|(_, on)| *on == label).map(|(user, _)| user.clone()).collect()
    }
}

/// The users among the first `n` who belong to a candidate of `percent`.
pub fn predicted(n: usize, percent: u16) -> BTreeSet<String> {
    let share = Share::from_basis_points(percent * 100);
    (0..n).map(user).filter(|user| Bucket::of("lbd", user).below(share)).collect()
}

fn user(n: usize) -> String {
    format!("user-{n}")
}

impl Lab {
    /// Sends one request for each of `n` users, over a few keep-alive connections.
    pub fn users(&self, n: usize) -> Crowd {
        let address = self.address();
        let part = |index: usize| {
            let mut client = Client::tcp(address).expect("the listener accepts");
            let users = (index..n).step_by(THREADS).map(user);
            users
                .map(|user| {
                    let answer = client.call(&Request::get("/").user(&user)).expect(200);
                    (user, answer.origin().to_owned())
                })
                .collect::<Vec<_>>()
        };
        thread::scope(|scope| {
            let parts: Vec<_> =
                (0..THREADS).map(|index| scope.spawn(move || part(index))).collect();
            Crowd(
                parts.into_iter().flat_map(|part| part.join().expect("no request fails")).collect(),
            )
        })
    }

    /// Sends requests of changing users until it is told to stop.
    pub fn load(&self) -> Load {
        self.load_of(Request::get("/"))
    }

    /// The same with this request, to which the user is added. Answers of 2xx and 3xx are good.
    pub fn load_of(&self, request: Request) -> Load {
        Load::start(self.address(), request)
    }
}

/// Continuous load on keep-alive connections.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    done: AtomicU64,
    failures: Mutex<Vec<String>>,
}

impl Load {
    fn start(address: SocketAddr, request: Request) -> Self {
        let shared = Arc::new(Shared::default());
        let run = |index| {
            let (shared, request) = (shared.clone(), request.clone());
            thread::spawn(move || shared.run(address, &request, index))
        };
        let threads = (0..THREADS).map(run).collect();
        Self { shared, threads }
    }

    /// How many requests were answered so far.
    pub fn done(&self) -> u64 {
        self.shared.done.load(Relaxed)
    }

    /// Waits until `more` further requests are done.
    pub fn goes_on(&self, more: u64) {
        let goal = self.done() + more;
        super::eventually("the load goes on", || (self.done() >= goal).then_some(()));
    }

    /// Ends the load, and asserts that not one request failed. Returns how many there were.
    #[track_caller]
    pub fn without_failure(mut self) -> u64 {
        self.shared.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("the load does not panic");
        }
        let failures = self.shared.failures.lock().unwrap();
        assert!(failures.is_empty(), "{} failed: {:?}", failures.len(), failures.first());
        self.done()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
    }
}

impl Shared {
    fn run(&self, address: SocketAddr, request: &Request, index: usize) {
        let mut client = None;
        for n in 0.. {
            if self.stop.load(Relaxed) {
                return;
            }
            let request = request.clone().user(&user(index + n * THREADS));
            let connected = match client.take() {
                Some(client) => Ok(client),
                None => Client::tcp(address),
            };
            let result = connected.and_then(|mut c| Ok((c.try_call(&request)?, c)));
            match result {
                Ok((answer, c)) if (200..400).contains(&answer.status) => {
                    let closes = answer.header("connection") == Some("close");
                    client = Some(c).filter(|_| !closes);
                }
                Ok((answer, _)) => self.fail(format!("status {}", answer.status)),
                Err(error) => self.fail(error.to_string()),
            }
            self.done.fetch_add(1, Relaxed);
        }
    }

    fn fail(&self, why: String) {
        self.failures.lock().unwrap().push(why);
    }
}
