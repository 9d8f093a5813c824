//! Connections to endpoints that pingora does not make as they must be: tunnels, and those that begin
//! with an announcement of their client.

use std::{io, sync::Arc};

use async_trait::async_trait;
use pingora_core::{
    Error, ErrorType, Result,
    connectors::L4Connect,
    protocols::l4::{socket::SocketAddr, stream::Stream, virt::VirtualSocketStream},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};

use super::tunnel::{Tunnel, TunnelIo};

/// Makes one connection for one request.
#[derive(Debug)]
pub struct Dial {
    /// What is said first.
    pub announcement: Option<Vec<u8>>,
    /// What the connection may become.
    pub tunnel: Option<Arc<Tunnel>>,
}

#[async_trait]
impl L4Connect for Dial {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        match address {
            SocketAddr::Inet(address) => {
                let mut stream = TcpStream::connect(address).await.map_err(unreachable)?;
                stream.set_nodelay(true).map_err(unreachable)?;
                self.announce(&mut stream).await?;
                Ok(self.dressed(stream))
            }
            SocketAddr::Unix(address) => {
                let path = address.as_pathname();
                let none = || Error::explain(ErrorType::ConnectError, "a socket without a path");
                let stream = UnixStream::connect(path.ok_or_else(none)?).await;
                let mut stream = stream.map_err(unreachable)?;
                self.announce(&mut stream).await?;
                Ok(self.dressed(stream))
            }
        }
    }
}

impl Dial {
    async fn announce(&self, stream: &mut (impl AsyncWrite + Unpin)) -> Result<()> {
        match &self.announcement {
            Some(bytes) => stream.write_all(bytes).await.map_err(unreachable),
            None => Ok(()),
        }
    }

    fn dressed<T>(&self, stream: T) -> Stream
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + Sync + std::fmt::Debug + 'static,
        Stream: From<T>,
    {
        match &self.tunnel {
            None => stream.into(),
            Some(tunnel) => {
                let io = TunnelIo::new(stream, tunnel.clone());
                VirtualSocketStream::new(Box::new(io)).into()
            }
        }
    }
}

/// As pingora tells them apart; what this machine lacks is not the endpoint's fault.
fn unreachable(error: io::Error) -> Box<Error> {
    use io::ErrorKind::{AddrInUse, AddrNotAvailable, ConnectionRefused, TimedOut};
    let kind = match error.kind() {
        ConnectionRefused => ErrorType::ConnectRefused,
        TimedOut => ErrorType::ConnectTimedout,
        AddrInUse | AddrNotAvailable => ErrorType::InternalError,
        _ if matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) => ErrorType::InternalError,
        _ => ErrorType::ConnectError,
    };
    Error::because(kind, "connecting to an endpoint", error)
}

/// No descriptors left, for the process or the machine.
const EMFILE: i32 = nix::libc::EMFILE;
const ENFILE: i32 = nix::libc::ENFILE;
