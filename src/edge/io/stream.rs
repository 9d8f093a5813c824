//! What pingora wants to know of a client connection.

use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, raw_connect::ProxyDigest,
};
use tokio::io::AsyncWriteExt;

use super::EdgeIo;

#[async_trait]
impl Shutdown for EdgeIo {
    async fn shutdown(&mut self) {
        // The connection ends either way.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for EdgeIo {
    fn id(&self) -> i32 {
        self.socket.id()
    }
}

impl Ssl for EdgeIo {}

impl Peek for EdgeIo {}

impl GetTimingDigest for EdgeIo {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for EdgeIo {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for EdgeIo {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}
