//! Opens a byte stream to a server: name, address, TCP, TLS, within one time limit.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::error::HttpError;
use super::target::Target;

/// Name resolution, TCP and TLS together, unless the target says otherwise. A server that needs longer to accept is as
/// good as down.
pub(super) const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Silence after which the kernel asks whether the other machine is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Opens a connection to the target's host, with TLS if its scheme asks for it.
pub(crate) async fn dial(target: &Target) -> Result<Stream, HttpError> {
    let after = target.dial_timeout();
    match axiom_core::time::timeout(after, dial_unbounded(target)).await {
        Ok(outcome) => outcome,
        Err(_elapsed) => Err(HttpError::Timeout {
            at: Arc::clone(target.at()),
            after,
        }),
    }
}

async fn dial_unbounded(target: &Target) -> Result<Stream, HttpError> {
    let tcp = connect_tcp(target).await?;
    if !target.is_https() {
        return Ok(Stream::Plain(tcp));
    }
    let failed = |cause: String| HttpError::Tls {
        at: Arc::clone(target.at()),
        cause: cause.into(),
    };
    // Reading the system's certificates takes milliseconds of file I/O: not on a worker thread.
    let config = axiom_core::spawn::blocking(tls_config).join().await;
    let config = config
        .unwrap_or_else(|| Err("reading the certificates panicked".into()))
        .map_err(failed)?;
    let name = ServerName::try_from(target.host().to_owned()).map_err(|error| failed(error.to_string()))?;
    let connector = tokio_rustls::TlsConnector::from(config);
    let tls = connector
        .connect(name, tcp)
        .await
        .map_err(|error| failed(error.to_string()))?;
    Ok(Stream::Tls(Box::new(tls)))
}

/// Tries each address in the resolver's order. `localhost` often means `::1` first while the server has only
/// 127.0.0.1; there the refusal comes at once.
async fn connect_tcp(target: &Target) -> Result<TcpStream, HttpError> {
    let addresses: Vec<SocketAddr> = match target.host().parse() {
        Ok(ip) => vec![SocketAddr::new(ip, target.port())],
        Err(_not_an_ip) => tokio::net::lookup_host((target.host(), target.port()))
            .await
            .map_err(|cause| HttpError::Resolve {
                at: Arc::clone(target.at()),
                cause: Arc::new(cause),
            })?
            .collect(),
    };
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(tcp) => {
                tune(&tcp, target.silence_max());
                return Ok(tcp);
            }
            Err(error) => failure = error,
        }
    }
    Err(HttpError::Connect {
        at: Arc::clone(target.at()),
        cause: Arc::new(failure),
    })
}

fn tune(tcp: &TcpStream, silence_max: Option<Duration>) {
    // Requests are written whole; waiting for more would only add latency.
    let nodelay = tcp.set_nodelay(true);
    let socket = socket2::SockRef::from(tcp);
    // A stream that is silent for hours must notice when the server's machine has gone.
    let first = silence_max.map_or(KEEPALIVE, |max| max / 2);
    let probes = socket2::TcpKeepalive::new()
        .with_time(first)
        .with_interval(first / 4);
    let keepalive = socket.set_tcp_keepalive(&probes);
    // It bounds both: probes without an answer, and a request that is sent again and again for a quarter of an hour.
    let silence = silence_max.map_or(Ok(()), |max| socket.set_tcp_user_timeout(Some(max)));
    if let Err(error) = nodelay.and(keepalive).and(silence) {
        tracing::debug!(%error, "a socket option was refused");
    }
}

/// Built on first use: a gateway without https upstreams never reads a certificate, and start-up stays fast.
fn tls_config() -> Result<Arc<ClientConfig>, String> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    CONFIG.get_or_init(build_tls_config).clone()
}

fn build_tls_config() -> Result<Arc<ClientConfig>, String> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a system certificate could not be read");
    }
    let mut roots = rustls::RootCertStore::empty();
    let (added, _ignored) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err("this system has no root certificates (on Debian: install ca-certificates)".into());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A connected byte stream.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    // Boxed: the TLS state is over a kilobyte, and most upstreams are plain.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Stream::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Stream::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, parts),
            Stream::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Plain(tcp) => tcp.is_write_vectored(),
            Stream::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
