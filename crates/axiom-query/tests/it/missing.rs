//! Events that cannot be read: whoever asks hears of it, in every format and over Flight SQL, before they take what is left for
//! all.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use arrow_flight::FlightData;
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures_util::TryStreamExt as _;
use serde_json::{Value, json};
use tonic::transport::{Channel, Endpoint};

use crate::serve::Server;
use crate::store::{models, record};

const MISSING: &str = "events 0 to 699 of shard 0 cannot be read";
const COUNT: &str = "SELECT count(*) AS n FROM events";
const ROWS: &str = "SELECT \"offset\", kind FROM events";

/// 2,100 events in three blocks, of which the first is damaged.
fn damaged(dir: &Path) {
    record(dir, &models(5, 2_100)).close();
    let path = dir.join("shard-00000/00000000000000000000.seg");
    let file = fs_err::OpenOptions::new()
        .write(true)
        .open(path)
        .expect("it was written");
    file.file()
        .write_all_at(&[0; 16], 1_000)
        .expect("the disk is well");
}

#[test]
fn a_format_without_room_for_warnings_gives_no_part_for_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    damaged(dir.path());
    let server = Server::start(dir.path(), &[]);
    let ask = |more: &str, sql| {
        let head = format!("POST /query?{more} HTTP/1.1\r\nte: trailers");
        server.ask(&head, sql)
    };
    for format in ["csv", "ndjson", "arrow"] {
        // A total is there when everything was read: it goes wrong before its first row.
        let said = ask(&format!("format={format}"), COUNT);
        assert_eq!(said.status, 500, "{format}: {}", said.head);
        let error = &said.json()["error"];
        assert_eq!(error["code"], "incomplete", "{format}");
        assert!(
            error["message"].as_str().unwrap().contains(MISSING),
            "{format}: {error}"
        );
        assert!(
            error["hint"].as_str().unwrap().contains("partial=true"),
            "{format}: {error}"
        );
        // Rows may be on their way before it is known.
        let said = ask(&format!("format={format}"), ROWS);
        assert!(said.status == 500 || !said.is_whole, "{format}: {}", said.head);

        let said = ask(&format!("format={format}&partial=true"), COUNT);
        assert_eq!(said.status, 200, "{format}: {}", said.head);
        assert!(
            said.head.contains(&format!("axiom-warnings: {MISSING}")),
            "{}",
            said.head
        );
        assert!(
            said.trailers.contains(&format!("axiom-warnings: {MISSING}")),
            "{}",
            said.trailers
        );
        let said = ask(&format!("format={format}&partial=true"), ROWS);
        assert!(
            said.is_whole && said.trailers.contains(MISSING),
            "{format}: {}",
            said.trailers
        );
        // What does not touch the damage is whole.
        let said = ask(
            &format!("format={format}"),
            "SELECT count(*) FROM events WHERE \"offset\" >= 700",
        );
        assert_eq!((said.status, said.trailers.as_str()), (200, "\r\n"), "{format}");
    }
    let said = ask("format=csv&partial=true", COUNT);
    assert_eq!(String::from_utf8_lossy(&said.body), "n\n1400\n");

    let json = ask("", COUNT).json();
    assert_eq!(json["rows"], json!([{ "n": 1_400 }]));
    assert!(json["warnings"][0].as_str().unwrap().contains(MISSING), "{json}");
    let table = ask("format=table", COUNT).body;
    let table = String::from_utf8_lossy(&table).into_owned();
    assert!(table.contains(&format!("\nwarning: {MISSING}")), "{table}");
}

#[test]
fn the_command_line_gives_the_rows_and_fails() {
    let dir = tempfile::tempdir().unwrap();
    damaged(dir.path());
    let ask = |sql: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_axiom-query"));
        command.args(["sql", "--format", "csv", "--dir"]).arg(dir.path());
        command.arg(sql).output().unwrap()
    };
    let said = ask(COUNT);
    assert_eq!(String::from_utf8_lossy(&said.stdout), "n\n1400\n");
    assert_eq!(said.status.code(), Some(1));
    let words = String::from_utf8_lossy(&said.stderr);
    assert!(words.starts_with(&format!("warning: {MISSING}")), "{words}");
    assert!(
        ask("SELECT 1 FROM events WHERE \"offset\" >= 700")
            .status
            .success()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn flight_sql_fails_unless_a_part_is_wanted_and_says_then_what_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    damaged(dir.path());
    let server = Server::start(dir.path(), &["--flight", "127.0.0.1:0"]);
    let address = server.flight.as_deref().expect("it speaks Flight SQL");
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut client = FlightSqlServiceClient::new(channel.connect().await.unwrap());
    for sql in [COUNT, ROWS] {
        let status = get(&mut client, sql, false).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::DataLoss, "{status}");
        assert!(status.message().contains(MISSING), "{status}");
        assert!(status.message().contains("axiom-partial"), "{status}");
    }
    let sound = "SELECT count(*) FROM events WHERE \"offset\" >= 700";
    let data = get(&mut client, sound, false).await.unwrap();
    assert!(data.iter().all(|message| message.app_metadata.is_empty()));
    // Without rows the last message is the schema.
    for sql in [COUNT, ROWS, "SELECT kind FROM events WHERE body = 'none is so'"] {
        let data = get(&mut client, sql, true).await.unwrap();
        let (last, others) = data.split_last().unwrap();
        assert!(others.iter().all(|message| message.app_metadata.is_empty()));
        let told: Value = serde_json::from_slice(&last.app_metadata).unwrap();
        assert!(told["warnings"][0].as_str().unwrap().contains(MISSING), "{told}");
    }
}

/// The messages of an answer, as they come.
async fn get(
    client: &mut FlightSqlServiceClient<Channel>,
    sql: &str,
    is_partial: bool,
) -> Result<Vec<FlightData>, tonic::Status> {
    let info = client.execute(sql.to_owned(), None).await.expect("it is a query");
    let ticket = info.endpoint[0].ticket.clone().expect("there is a way to it");
    let mut request = tonic::Request::new(ticket);
    if is_partial {
        let value = "true".parse().expect("it is text");
        request.metadata_mut().insert("axiom-partial", value);
    }
    let data = client.inner_mut().do_get(request).await?.into_inner();
    data.try_collect().await
}
