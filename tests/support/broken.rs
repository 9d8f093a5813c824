//! What stands behind lbd when things go wrong.

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use super::PATIENCE;

/// An origin that says the same bytes on every connection once it has read a head, and closes it.
pub struct RawOrigin {
    pub address: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl RawOrigin {
    pub fn saying(answer: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let (of_thread, answer) = (heads.clone(), answer.to_owned());
        thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that left is no reason to end.
                let _ = stream.and_then(|stream| say(stream, &answer, &of_thread));
            }
        });
        Self { address, heads }
    }

    /// The heads of the requests that came, as they came.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn say(mut stream: TcpStream, answer: &str, heads: &Mutex<Vec<String>>) -> io::Result<()> {
    use io::{Read, Write};
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    // Before the answer: whoever has that may ask for the head.
    heads.lock().unwrap().push(String::from_utf8_lossy(&head).into_owned());
    stream.write_all(answer.as_bytes())
}

/// An address where connections are refused, for as long as this lives. Nobody else gets its port by
/// chance, but lbd can be told to listen there.
pub struct Dead {
    pub address: SocketAddr,
    _socket: Socket,
}

impl Dead {
    pub fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        Self { address, _socket: socket }
    }
}

/// An address where connections are never made: its queue is full and nobody accepts.
pub struct Deaf {
    pub address: SocketAddr,
    _socket: Socket,
    _queue: Vec<TcpStream>,
}

impl Deaf {
    pub fn new() -> Self {
        const QUICK: Duration = Duration::from_millis(200);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let queue = std::iter::from_fn(|| TcpStream::connect_timeout(&address, QUICK).ok());
        let queue: Vec<_> = queue.take(64).collect();
        assert!(queue.len() < 64, "the queue never fills");
        Self { address, _socket: socket, _queue: queue }
    }
}
