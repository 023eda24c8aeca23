use axiom_transport::pipe::{CloseReason, pair};
use bytes::Bytes;
use futures_util::FutureExt as _;

#[tokio::test]
async fn both_ends_talk() {
    let (mut left, mut right) = pair(4);
    left.tx.send(Bytes::from_static(b"ping")).await.unwrap();
    assert_eq!(right.rx.recv().await.unwrap(), "ping");
    right.tx.send(Bytes::from_static(b"pong")).await.unwrap();
    assert_eq!(left.rx.recv().await.unwrap(), "pong");
}

#[tokio::test]
async fn a_slow_peer_makes_the_sender_wait() {
    let (left, mut right) = pair(2);
    for _ in 0..2 {
        left.tx
            .send(Bytes::from_static(b"x"))
            .now_or_never()
            .expect("there is room")
            .unwrap();
    }
    assert!(
        left.tx
            .send(Bytes::from_static(b"dropped"))
            .now_or_never()
            .is_none()
    );
    right.rx.recv().await.unwrap();
    left.tx
        .send(Bytes::from_static(b"third"))
        .now_or_never()
        .expect("there is room again")
        .unwrap();
    right.rx.recv().await.unwrap();
    assert_eq!(
        right.rx.recv().await.unwrap(),
        "third",
        "the dropped send left nothing behind"
    );
}

#[tokio::test]
async fn a_dropped_recv_takes_nothing() {
    let (left, mut right) = pair(2);
    assert!(right.rx.recv().now_or_never().is_none());
    left.tx.send(Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(right.rx.recv().await.unwrap(), "x");
}

#[tokio::test]
async fn close_delivers_what_was_sent_and_then_the_end() {
    let (left, mut right) = pair(2);
    let clone = left.tx.clone();
    left.tx.send(Bytes::from_static(b"last")).await.unwrap();
    left.tx.close();
    assert!(clone.is_closed());
    assert_eq!(
        clone.send(Bytes::new()).await.unwrap_err().reason,
        CloseReason::Stopped
    );
    assert_eq!(right.rx.recv().await.unwrap(), "last");
    let closed = right.rx.recv().await.unwrap_err();
    assert_eq!(
        (closed.reason, closed.to_string().as_str()),
        (CloseReason::Eof, "the peer closed the connection")
    );
    assert!(!right.tx.is_closed(), "the other direction is still open");
}

#[tokio::test]
async fn a_dropped_peer_is_an_end_for_both_directions() {
    let (mut left, right) = pair(2);
    drop(right);
    assert_eq!(left.rx.recv().await.unwrap_err().reason, CloseReason::Eof);
    assert!(left.tx.is_closed());
    assert_eq!(
        left.tx.send(Bytes::new()).await.unwrap_err().reason,
        CloseReason::Eof
    );
}
