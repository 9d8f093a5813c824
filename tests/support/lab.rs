//! A running lbd.

use std::{
    fs::{self, OpenOptions},
    io,
    net::SocketAddr,
    ops::Deref,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use lbd::api::types::{EndpointStatus, PoolStatus, ServiceStatus, Status};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use super::{Answer, Begun, Client, Outcome, PATIENCE, Plan, Request, eventually, within};

/// A running lbd with its folder. It is killed at the end of the test, and if the test failed, what
/// it said on standard error is shown.
pub struct Lab {
    pub plan: Plan,
    folder: TempDir,
    child: Option<Child>,
    /// The process that serves, where an upgrade has put another in the child's place.
    successor: Option<u32>,
    address: SocketAddr,
}

/// The daemon's command line.
pub fn daemon(config: &Path) -> Command {
    started_from(Path::new(env!("CARGO_BIN_EXE_lbd")), config)
}

fn started_from(binary: &Path, config: &Path) -> Command {
    let mut command = Command::new(binary);
    command.arg("--config").arg(config);
    command.env_remove("NOTIFY_SOCKET").env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

impl Lab {
    /// How a laboratory is to be.
    #[expect(clippy::new_ret_no_self, reason = "a laboratory is planned before it is there")]
    pub fn new() -> Plan {
        Plan::default()
    }

    pub(super) fn start(plan: Plan) -> Self {
        let folder = tempfile::Builder::new().prefix("lbd-").tempdir().unwrap();
        let text = plan.text(folder.path());
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut lab = Self { plan, folder, child: None, successor: None, address: nowhere };
        lab.write_config(&text);
        lab.put_binary(Path::new(env!("CARGO_BIN_EXE_lbd")));
        lab.launch();
        lab
    }

    /// Puts a binary into the place from which lbd is started.
    pub fn put_binary(&self, binary: &Path) {
        let fresh = self.path("lbd.new");
        std::os::unix::fs::symlink(binary, &fresh).unwrap();
        fs::rename(fresh, self.path("lbd")).unwrap();
    }

    /// Puts a script there.
    pub fn put_script(&self, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let script = self.path(&format!("script-{:x}", fastrand::u64(..)));
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        self.put_binary(&script);
    }

    /// The command that starts lbd.
    pub fn command(&self) -> Command {
        started_from(&self.path("lbd"), &self.config_file())
    }

    /// Starts lbd, and waits until it serves.
    pub fn launch(&mut self) {
        self.launch_by(self.command());
        assert_eq!(self.status().pid, self.pid());
    }

    /// Starts lbd by this command, and waits until it serves.
    pub fn launch_by(&mut self, mut command: Command) {
        assert!(self.child.is_none(), "lbd runs already");
        let log = OpenOptions::new().create(true).append(true).open(self.path("stderr.log"));
        let child = command.stderr(log.unwrap()).stdout(Stdio::null()).spawn();
        self.child = Some(child.unwrap());
        let status = eventually("lbd serves and tells its listener", || {
            if let Some(status) = self.child.as_mut()?.try_wait().unwrap() {
                panic!("lbd ended with {status} instead of serving");
            }
            self.try_status().ok()
        });
        self.address = status.listeners[0].address.parse().unwrap();
    }

    /// A place in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn socket(&self) -> PathBuf {
        self.path("admin.sock")
    }

    pub fn config_file(&self) -> PathBuf {
        self.path("lbd.toml")
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn pid(&self) -> u32 {
        self.successor.unwrap_or_else(|| self.child.as_ref().expect("lbd runs").id())
    }

    /// Hands over to the binary on the disk, and returns the numbers of the old process and the new.
    #[track_caller]
    pub fn upgrade(&mut self, words: &str) -> (u32, u32) {
        let before = self.pid();
        let upgraded = self.ctl(&format!("upgrade --json {words}")).json();
        let pid = |which: &str| upgraded[which]["pid"].as_u64().expect("a number") as u32;
        assert_eq!(pid("from"), before);
        self.successor = Some(pid("to"));
        (before, pid("to"))
    }

    /// Goes on with a process that has taken over by itself.
    pub fn follow(&mut self, pid: u32) {
        self.successor = Some(pid);
    }

    /// Waits until a process has ended.
    pub fn until_gone(&mut self, pid: u32) {
        let child = &mut self.child;
        eventually(&format!("process {pid} ends"), || {
            if let Some(own) = child.as_mut().filter(|child| child.id() == pid) {
                return own.try_wait().unwrap().map(drop);
            }
            // One whose parent has not looked after it yet has ended as well.
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let state = stat.rsplit(") ").next().unwrap_or_default();
            // Its other threads may still have its files open.
            let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
            (stat.is_empty() || state.starts_with('Z') && threads <= 1).then_some(())
        });
    }

    /// What lbd said on standard error so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("stderr.log")).unwrap_or_default()
    }

    /// A URL of the listener.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Runs `lbctl` with these words, split as a shell would.
    pub fn ctl(&self, words: &str) -> Outcome {
        Outcome::of(&mut self.ctl_command(words), self.folder.path())
    }

    /// `lbctl` with these words.
    pub fn ctl_command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lbctl"));
        command.args(split(words)).env("LBCTL_SOCKET", self.socket()).env("NO_COLOR", "1");
        command.env("TZ", "UTC").current_dir(self.folder.path());
        command
    }

    /// A connection to the listener.
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::tcp(self.address).expect("the listener accepts")
    }

    /// A connection to the admin socket.
    #[track_caller]
    pub fn admin(&self) -> Client {
        Client::unix(&self.socket()).expect("the admin socket accepts")
    }

    /// Gets a path, on a connection of its own.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.request(&Request::get(path))
    }

    /// Sends a request, on a connection of its own.
    #[track_caller]
    pub fn request(&self, request: &Request) -> Answer {
        self.client().call(request)
    }

    /// The label of the origin that a user gets.
    #[track_caller]
    pub fn side_of(&self, user: &str) -> String {
        self.request(&Request::get("/").user(user)).expect(200).origin().to_owned()
    }

    fn try_status(&self) -> io::Result<Seen> {
        let answer =
            Client::unix(&self.socket())?.try_call(&Request::get("/v1/status").host("lbd"))?;
        serde_json::from_slice(&answer.body).map(Seen).map_err(io::Error::other)
    }

    /// What `GET /v1/status` says.
    pub fn status(&self) -> Seen {
        self.try_status().expect("lbd tells its status")
    }

    /// Waits until the rollout is in a phase.
    pub fn until_phase(&self, phase: &str) -> Seen {
        self.until(&format!("the rollout is {phase}"), |seen| seen.phase() == phase)
    }

    /// Starts `lbctl` with these words, and lets it run.
    pub fn begin(&self, words: &str) -> Begun {
        Begun::new(self.ctl_command(words), self.folder.path())
    }

    /// Waits until the status is as wanted.
    pub fn until(&self, what: &str, wanted: impl Fn(&Seen) -> bool) -> Seen {
        eventually(what, || self.try_status().ok().filter(&wanted))
    }

    /// The value of one metric, by its name with labels as `/metrics` writes them; 0 if it is not there.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.admin().call(&Request::get("/metrics").host("lbd")).expect(200);
        let line = text.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a metric is a number"))
    }

    /// Waits until a metric has a value: requests are counted when they are over, which may be a
    /// moment after the client has its answer.
    pub fn until_metric(&self, name: &str, value: f64) {
        let mut last = f64::NAN;
        let reached = within(PATIENCE, || {
            last = self.metric(name);
            (last == value).then_some(())
        });
        assert!(reached.is_some(), "{name} is {last} and not {value}");
    }

    /// The journal, oldest first.
    pub fn events(&self) -> Vec<serde_json::Value> {
        let answer =
            self.admin().call(&Request::get("/v1/events?limit=1000").host("lbd")).expect(200);
        answer.json()["events"].as_array().expect("a list of events").clone()
    }

    /// Writes the config file in place.
    pub fn write_config(&self, text: &str) {
        fs::write(self.config_file(), text).unwrap();
    }

    /// Writes the config file of another plan in place.
    pub fn write_plan(&self, plan: &Plan) {
        self.write_config(&plan.text(self.folder.path()));
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal).expect("lbd can be signalled");
    }

    pub fn sigterm(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Waits until lbd has ended.
    pub fn ended(&mut self) -> ExitStatus {
        if let Some(successor) = self.successor.take() {
            self.until_gone(successor);
        }
        let child = self.child.as_mut().expect("lbd runs");
        let status = eventually("lbd ends", || child.try_wait().unwrap());
        self.child = None;
        status
    }

    /// Stops lbd as a service manager does.
    pub fn stop(&mut self) {
        self.sigterm();
        let status = self.ended();
        assert!(status.success(), "lbd ended with {status}");
    }

    /// Ends lbd as a power cut does.
    pub fn kill9(&mut self) {
        self.signal(Signal::SIGKILL);
        self.ended();
    }

    pub fn restart(&mut self) {
        self.stop();
        self.launch();
    }

    /// Starts lbd, which must end by itself, and says how it did.
    pub fn relaunch_ends(&self) -> Outcome {
        assert!(self.child.is_none(), "lbd runs already");
        Outcome::of(&mut daemon(&self.config_file()), self.folder.path())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(successor) = self.successor {
            let _ = kill(Pid::from_raw(successor as i32), Signal::SIGKILL);
        }
        if let Some(child) = &mut self.child {
            // It may have ended by itself; then there is nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- lbd said ---\n{}--- end ---", self.log());
        }
    }
}

/// A status, with short ways to what tests ask for. Services are found by name; pools are those of
/// `app`.
#[derive(Debug)]
pub struct Seen(Status);

impl Deref for Seen {
    type Target = Status;

    fn deref(&self) -> &Status {
        &self.0
    }
}

impl Seen {
    #[track_caller]
    pub fn service(&self, name: &str) -> &ServiceStatus {
        self.services.iter().find(|s| s.name.as_str() == name).expect("the service is listed")
    }

    #[track_caller]
    pub fn pool_of(&self, service: &str, pool: &str) -> &PoolStatus {
        let pools = &self.service(service).pools;
        pools.iter().find(|p| p.name.as_str() == pool).expect("the pool is listed")
    }

    #[track_caller]
    pub fn pool(&self, pool: &str) -> &PoolStatus {
        self.pool_of("app", pool)
    }

    /// The phase of the rollout, as one word; `none` if there was none yet.
    pub fn phase(&self) -> &'static str {
        self.rollout.as_ref().map_or("none", |status| status.rollout.phase.as_str())
    }

    /// The stage that is in force, from 1; 0 if none is.
    pub fn stage(&self) -> usize {
        let stage = self.rollout.as_ref().and_then(|status| status.rollout.phase.stage());
        stage.map_or(0, |stage| stage + 1)
    }

    /// A pool's share, as in `25%`.
    #[track_caller]
    pub fn share(&self, pool: &str) -> String {
        self.pool(pool).share.to_string()
    }

    /// An endpoint, if its pool has it.
    pub fn endpoint(&self, pool: &str, address: &str) -> Option<&EndpointStatus> {
        self.pool(pool).endpoints.iter().find(|e| e.address.to_string() == address)
    }

    /// Why endpoints of `app` are not fit, one text for each endpoint.
    pub fn pools_reasons(&self) -> Vec<String> {
        let endpoints = self.service("app").pools.iter().flat_map(|pool| &pool.endpoints);
        endpoints.map(|endpoint| endpoint.reason.clone()).collect()
    }

    /// An endpoint's fitness, as the status writes it.
    #[track_caller]
    pub fn standing(&self, pool: &str, address: &str) -> String {
        let endpoint = self.endpoint(pool, address).expect("the endpoint is listed");
        serde_json::to_value(endpoint.standing).unwrap().as_str().unwrap().to_owned()
    }
}

/// Splits words as a shell would, with quotes.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (Some(_) | None, c) => word.get_or_insert_default().push(c),
        }
    }
    assert_eq!(quote, None, "a quote is not closed: {line}");
    words.extend(word);
    words
}
