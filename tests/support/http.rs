//! A small HTTP/1.1 client on one connection, strict about what it reads.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
};

use super::PATIENCE;

/// A request to be sent.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    chunked: bool,
}

impl Request {
    /// A request for `path` of the host `app.test`.
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.into(),
            path: path.into(),
            headers: vec![("Host".into(), "app.test".into())],
            body: None,
            chunked: false,
        }
    }

    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    pub fn post(path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", path).body(body)
    }

    pub fn host(mut self, host: &str) -> Self {
        self.headers[0].1 = host.into();
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sent by this user.
    pub fn user(self, id: &str) -> Self {
        self.header("X-User-Id", id)
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// The body goes in chunks of 1000 bytes.
    pub fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// The head as it goes over the wire.
    pub fn head(&self) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        match &self.body {
            Some(_) if self.chunked => head += "Transfer-Encoding: chunked\r\n",
            Some(body) => head += &format!("Content-Length: {}\r\n", body.len()),
            None => {}
        }
        head + "\r\n"
    }

    fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        let mut bytes = self.head().into_bytes();
        match &self.body {
            Some(body) if self.chunked => {
                for piece in body.chunks(1000) {
                    bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                    bytes.extend_from_slice(piece);
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(b"0\r\n\r\n");
            }
            Some(body) => bytes.extend_from_slice(body),
            None => {}
        }
        to.write_all(&bytes)?;
        to.flush()
    }
}

/// A response, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    pub version: String,
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The fields behind the last chunk.
    pub trailers: Vec<(String, String)>,
}

impl Answer {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// Every header of this name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    pub fn json(&self) -> serde_json::Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("no JSON: {e}: {text}"))
    }

    /// The label of the origin that answered; empty if it was lbd itself.
    pub fn origin(&self) -> &str {
        self.header("x-origin").unwrap_or_default()
    }

    /// Asserts the status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(
            self.status,
            status,
            "{:?} {}",
            self.headers,
            String::from_utf8_lossy(&self.body)
        );
        self
    }

    fn is_chunked(&self) -> bool {
        self.header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked"))
    }
}

trait Stream: Read + Write + Send {
    fn close_writing(&self) -> io::Result<()>;
    fn another(&self) -> io::Result<Box<dyn Stream>>;
}

impl Stream for TcpStream {
    fn close_writing(&self) -> io::Result<()> {
        self.shutdown(std::net::Shutdown::Write)
    }

    fn another(&self) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(self.try_clone()?))
    }
}

impl Stream for UnixStream {
    fn close_writing(&self) -> io::Result<()> {
        self.shutdown(std::net::Shutdown::Write)
    }

    fn another(&self) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(self.try_clone()?))
    }
}

/// Lines as names and values.
fn fields(lines: &[String]) -> Option<Vec<(String, String)>> {
    let field = |line: &String| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_owned(), value.trim().to_owned()))
    };
    lines.iter().map(field).collect()
}

/// One connection to lbd. No read takes longer than [`PATIENCE`].
pub struct Client {
    stream: BufReader<Box<dyn Stream>>,
}

impl Client {
    /// Connects to a listener.
    pub fn tcp(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(Box::new(stream)) })
    }

    /// Connects to an admin socket.
    pub fn unix(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(Box::new(stream)) })
    }

    /// Sends a request and reads the response.
    #[track_caller]
    pub fn call(&mut self, request: &Request) -> Answer {
        self.try_call(request)
            .unwrap_or_else(|e| panic!("{} {}: {e}", request.method, request.path))
    }

    /// The same, where the connection may break.
    pub fn try_call(&mut self, request: &Request) -> io::Result<Answer> {
        request.write(self.stream.get_mut())?;
        self.read(&request.method)
    }

    /// Sends a request from another thread while the response is read, for bodies that come back.
    #[track_caller]
    pub fn exchange(&mut self, request: &Request) -> Answer {
        let mut sender = self.stream.get_ref().another().expect("a second handle");
        std::thread::scope(|scope| {
            let sent = scope.spawn(move || request.write(&mut sender));
            let answer = self.answer();
            sent.join().expect("no panic").expect("lbd takes the request");
            answer
        })
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let to = self.stream.get_mut();
        to.write_all(bytes.as_ref()).and_then(|()| to.flush()).expect("lbd takes the bytes");
        self
    }

    /// Sends of these bytes as many as lbd takes.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) {
        // It may close the connection at any time.
        let _ = self.stream.get_mut().write_all(bytes.as_ref());
    }

    /// Sends a request without reading the response.
    pub fn begin(&mut self, request: &Request) -> &mut Self {
        request.write(self.stream.get_mut()).expect("lbd takes the request");
        self
    }

    /// Says that nothing more will be sent.
    pub fn close_writing(&mut self) -> &mut Self {
        self.stream.get_ref().close_writing().expect("the connection is still there");
        self
    }

    /// Reads the next response, to a request other than HEAD.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        self.read("GET").expect("lbd answers")
    }

    /// Reads one line, for streams of events.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("lbd sends a line");
        line.trim_end().to_owned()
    }

    /// Reads the next response's head, which may be an interim one.
    pub fn read_head(&mut self) -> io::Result<Answer> {
        let lines = self.read_lines()?;
        let bad = || io::Error::other(format!("not a head: {lines:?}"));
        let mut words = lines.first().ok_or_else(bad)?.splitn(3, ' ');
        let version = words.next().filter(|v| v.starts_with("HTTP/1.")).ok_or_else(bad)?;
        let status = words.next().and_then(|s| s.parse().ok()).ok_or_else(bad)?;
        let headers = fields(&lines[1..]).ok_or_else(bad)?;
        let (version, body, trailers) = (version.into(), Vec::new(), Vec::new());
        Ok(Answer { version, status, headers, body, trailers })
    }

    /// Reads lines up to an empty one.
    fn read_lines(&mut self) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            if self.stream.read_until(b'\n', &mut line)? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed before a head"));
            }
            if !line.ends_with(b"\r\n") {
                return Err(io::Error::other("a line of the head does not end with CRLF"));
            }
            let line = String::from_utf8_lossy(&line[..line.len() - 2]).into_owned();
            match line.is_empty() {
                true => return Ok(lines),
                false => lines.push(line),
            }
        }
    }

    fn read(&mut self, method: &str) -> io::Result<Answer> {
        let mut answer = self.read_head()?;
        while answer.status < 200 {
            answer = self.read_head()?;
        }
        let length =
            answer.header("content-length").map(|l| l.parse().expect("a length is a number"));
        if method == "HEAD" || answer.status == 204 || answer.status == 304 {
            return Ok(answer);
        }
        if answer.is_chunked() {
            assert_eq!(length, None, "chunks and a length at once");
            self.read_chunks(&mut answer)?;
        } else if let Some(length) = length {
            answer.body.resize(length, 0);
            self.stream.read_exact(&mut answer.body)?;
        } else {
            self.stream.read_to_end(&mut answer.body)?;
        }
        Ok(answer)
    }

    fn read_chunks(&mut self, answer: &mut Answer) -> io::Result<()> {
        let body = &mut answer.body;
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed between chunks"));
            }
            let size = usize::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
            if size == 0 {
                let lines = self.read_lines()?;
                let bad = || io::Error::other(format!("not trailers: {lines:?}"));
                answer.trailers = fields(&lines).ok_or_else(bad)?;
                return Ok(());
            }
            let begin = body.len();
            body.resize(begin + size + 2, 0);
            self.stream.read_exact(&mut body[begin..])?;
            assert_eq!(&body[begin + size..], b"\r\n", "a chunk ends with CRLF");
            body.truncate(begin + size);
        }
    }

    /// Waits for lbd to close the connection, and says whether it did so without another byte.
    pub fn is_closed(&mut self) -> bool {
        match self.stream.read(&mut [0; 1]) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    /// Takes the connection's end: everything that is still sent, up to the close.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset ends it as well.
        let _ = self.stream.read_to_end(&mut rest);
        rest
    }

    /// Reads exactly so many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).expect("lbd sends the bytes");
        bytes
    }
}
