//! gRPC end to end, with Python's grpcio on both sides: unary calls, all three kinds of streams,
//! trailers, deadlines, and what the guard is told of statuses.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use crate::support::{Lab, Outcome};

/// The peer's command; `None` if grpcio is not installed. `GRPC_PYTHON` names another interpreter.
fn peer(words: &[&str]) -> Option<Command> {
    #[expect(
        clippy::disallowed_methods,
        reason = "where the library is, is said in the environment"
    )]
    let python = std::env::var("GRPC_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let found = Command::new(&python).args(["-c", "import grpc"]).stderr(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        println!("note: grpcio is not installed, its tests are passed over");
        return None;
    }
    let mut command = Command::new(python);
    command.arg(format!("{}/tests/peers/grpc.py", env!("CARGO_MANIFEST_DIR"))).args(words);
    Some(command)
}

/// A server that ends with the test.
struct Server(Child, String);

impl Server {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self(child, format!("127.0.0.1:{}", port.trim()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn every_kind_of_call_passes_with_its_trailers_and_deadline() {
    let Some(server) = peer(&["server"]).map(Server::start) else { return };
    let pool =
        format!("[service.app.pool.blue]\nendpoints = [\"{}\"]\nprotocol = \"h2c\"\n", server.1);
    let lab = Lab::new().config(&format!("[service.app]\n{pool}")).start();
    let address = lab.address().to_string();
    let mut client = peer(&["client", &address]).unwrap();
    Outcome::of(&mut client, lab.folder()).succeeds();
    // The one UNAVAILABLE that the client asked for.
    let failures =
        "lbd_request_failures_total{service=\"app\",pool=\"blue\",blame=\"upstream-5xx\"}";
    lab.until_metric(failures, 1.0);
    lab.until("all are over", |seen| seen.pool("blue").in_flight == 0);
}
