//! This process's own stdin and stdout as a pipe: the test starts itself as a child that echoes.

use axiom_transport::child::spawn_child;
use axiom_transport::pipe::CloseReason;
use axiom_transport::stdio::own_stdio;
use bytes::Bytes;

use crate::child::{ALONE, options};

#[tokio::test]
async fn a_child_that_echoes_over_its_own_stdio() {
    let _alone = ALONE.lock().await;
    let test = std::env::current_exe().unwrap();
    let command = [
        test.to_str().unwrap(),
        "--exact",
        "stdio::echo",
        "--ignored",
        "--nocapture",
    ];
    let (mut pipe, child) = spawn_child(options(&command)).unwrap();
    let mut next = async || loop {
        let line = pipe.rx.recv().await.unwrap();
        // The test harness talks on stdout, too, and does not always end its line.
        if let Some(start) = memchr::memchr(b'{', &line) {
            break line.slice(start..);
        }
    };
    for length in [0, 10, 300_000] {
        let message = Bytes::from(format!("{{\"x\":\"{}\"}}", "x".repeat(length)));
        pipe.tx.send(message.clone()).await.unwrap();
        assert_eq!(next().await, message);
    }
    pipe.tx.close();
    assert_eq!(next().await, "{\"end\":\"Eof\"}");
    child.stop().await;
}

#[tokio::test]
#[ignore = "the other test starts it as a child process"]
async fn echo() {
    let mut pipe = own_stdio(1_000_000);
    loop {
        match pipe.rx.recv().await {
            Ok(message) => pipe.tx.send(message).await.unwrap(),
            Err(closed) => {
                let end = format!("{{\"end\":\"{:?}\"}}", closed.reason);
                pipe.tx.send(Bytes::from(end)).await.unwrap();
                pipe.tx.close();
                assert_eq!(
                    pipe.tx.send(Bytes::new()).await.unwrap_err().reason,
                    CloseReason::Stopped
                );
                return;
            }
        }
    }
}
