//! nginx as what every other proxy is compared with: it forwards bytes, keeps its connections, and writes no log.

use std::{net::SocketAddr, path::PathBuf, process::Command};

use anyhow::Context;

use super::Folder;
use crate::process;

/// The command line of nginx, in the foreground, with its configuration and all its files in `folder`.
///
/// # Errors
/// nginx is not installed.
pub(super) fn command(
    folder: &Folder,
    upstream: SocketAddr,
    port: u16,
    workers: usize,
) -> anyhow::Result<Command> {
    let binary = find().context("nginx is not installed\nhint: apt install nginx-light")?;
    let root = folder.path().join("nginx");
    std::fs::create_dir_all(&root)?;
    let root = root.to_str().context("the temporary folder's path is not text")?;
    // Started by root, nginx would give its workers to a user who cannot write here.
    let user = if process::is_root() { "user root;" } else { "" };
    let config = format!(
        "{user}
daemon off;
worker_processes {workers};
pid {root}/nginx.pid;
error_log {root}/error.log warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    # The default closes a connection after 1,000 requests; the measurement is of requests, not of connections.
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    upstream echo {{
        server {upstream};
        keepalive 512;
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            proxy_pass http://echo;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_set_header Host $host;
            proxy_read_timeout 1h;
        }}
    }}
}}
"
    );
    let config = folder.write("nginx.conf", &config)?;
    let mut command = Command::new(binary);
    command
        .args(["-p", root, "-e", &format!("{root}/error.log"), "-c"])
        .arg(config);
    Ok(command)
}

/// On Debian it lies where only root's PATH leads.
fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders
        .map(|folder| folder.join("nginx"))
        .find(|path| path.is_file())
}
