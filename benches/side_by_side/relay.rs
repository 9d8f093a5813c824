//! The floor of `make bench`: passes bytes between clients and one origin, and looks at none.
//!
//! One thread, a connection to the origin for each client's: `relay LISTEN ORIGIN`.

use std::{env, error::Error};

use tokio::{
    io::copy_bidirectional_with_sizes,
    net::{TcpListener, TcpStream},
    runtime::Builder,
};

/// What is read at once, in bytes: as much as lbd's peers do, or more.
const BUFFER: usize = 64 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(listen), Some(origin)) = (arguments.next(), arguments.next()) else {
        return Err("usage: relay LISTEN ORIGIN".into());
    };
    Builder::new_current_thread().enable_io().build()?.block_on(relay(&listen, &origin))
}

async fn relay(listen: &str, origin: &str) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(listen).await?;
    let origin = origin.to_owned();
    loop {
        let (client, _) = listener.accept().await?;
        let origin = origin.clone();
        tokio::spawn(async move {
            // A client that leaves ends its pair, and nothing else.
            let _ = pass(client, &origin).await;
        });
    }
}

async fn pass(mut client: TcpStream, origin: &str) -> std::io::Result<()> {
    let mut server = TcpStream::connect(origin).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER).await?;
    Ok(())
}
