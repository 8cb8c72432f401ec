//! `omnistream bench bare`: a web server of the same kind and in a process of its own, which reads what it is sent and
//! answers 200. What it takes is what the machine, the client and HTTP take.

use std::process::ExitCode;

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use tokio::net::TcpListener;

/// # Errors
/// When no port can be had.
pub async fn run() -> Result<ExitCode> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("Listening on http://{}", listener.local_addr()?);
    axum::serve(listener, Router::new().fallback(read)).await?;
    Ok(ExitCode::SUCCESS)
}

async fn read(_: Bytes) -> StatusCode {
    StatusCode::OK
}
