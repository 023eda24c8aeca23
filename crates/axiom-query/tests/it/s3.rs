//! The cold tier in a store that speaks S3: a real server of it, and answers that are the same as from the disk.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use axiom_events::disk::Machine;
use axiom_tiers::manifest::{Change, Manifest, Object, Tier};

use crate::store::{models, seal};

const QUERIES: [&str; 4] = [
    "SELECT count(*) AS n, sum(severity) AS s FROM events",
    "SELECT \"offset\", version, \"time\", tenant, stream, task, kind, level, trace, id, format, body_bytes FROM events \
     ORDER BY \"offset\"",
    "SELECT \"offset\", body FROM events WHERE task = 'task-0007-with-a-name-longer-than-a-view' ORDER BY \"offset\"",
    "SELECT server, outcome, count(*) AS n, max(duration_us) AS most FROM calls GROUP BY server, outcome ORDER BY server, outcome",
];

/// Whoever has any key may change what is there: signatures are not checked.
const SIGNED: &str =
    "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";

/// The server moto, which keeps what it is given in memory.
struct Moto {
    child: Child,
    address: String,
}

impl Moto {
    /// `None`, said on stderr, where nobody says where it is.
    #[allow(clippy::print_stderr, reason = "who looks why a test did nothing finds it")]
    fn start() -> Option<Moto> {
        let Some(bed) = std::env::var_os("AXIOM_BED").map(PathBuf::from) else {
            eprintln!("skipped: AXIOM_BED is not set, so there is no S3; cargo xtask test sets it");
            return None;
        };
        let mut child = Command::new(bed.join("python-s3/bin/moto_server"))
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("cargo xtask setup has put it there");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped"))
            .lines()
            .map_while(Result::ok);
        let address = lines
            .find_map(|line| Some(line.split_once("Running on http://")?.1.trim().to_owned()))
            .expect("it says where it listens");
        // Somebody has to read what it says, or it stops saying, and working.
        axiom_core::spawn::thread("moto's words", move || lines.for_each(drop)).expect("a thread");
        let moto = Moto { child, address };
        moto.send("PUT", "/bucket", &[]);
        Some(moto)
    }

    fn send(&self, method: &str, path: &str, body: &[u8]) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        let (host, length) = (&self.address, body.len());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {SIGNED}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        stream
            .write_all(&[head.as_bytes(), body].concat())
            .expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait()).is_ok();
    }
}

/// Where an object of the bucket is, for its server.
fn path(object: &Object) -> String {
    let key = object.location.strip_prefix("s3:/").expect("it is in S3");
    key.to_owned()
}

/// Moves the first two files there, as the gateway does it: copied, then named by one record, then deleted. Gives what is there now.
fn place(dir: &Path, moto: &Moto) -> Vec<(Object, Vec<u8>)> {
    let shard = dir.join("shard-00000");
    let manifest = Manifest::open(Arc::new(Machine), &shard, 0).expect("it was written");
    let warm = manifest.now().objects.clone();
    let placed = warm.iter().take(2).map(|warm| {
        let file = shard.join("warm").join(&warm.location);
        let mut cold = warm.clone();
        cold.tier = Tier::Cold;
        cold.location = format!("s3://bucket/some/prefix/{}", warm.location);
        let bytes = fs_err::read(&file).expect("it was written");
        moto.send("PUT", &path(&cold), &bytes);
        let change = Change::Replace {
            removed: vec![warm.location.clone()],
            added: vec![cold.clone()],
            retired: 0,
            why: "moved by a test".to_owned(),
        };
        manifest
            .change("a test", |_| Some(change))
            .expect("no event is lost");
        fs_err::remove_file(file).expect("it was there");
        (cold, bytes)
    });
    placed.collect()
}

/// The program as the gateway starts it: the way to the store is in its environment.
fn ask(dir: &Path, address: &str, sql: &str) -> Result<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_axiom-query"))
        .args(["sql", "--format", "ndjson", "--dir"])
        .arg(dir)
        .args(["--", sql])
        .env("AWS_ENDPOINT_URL", format!("http://{address}"))
        .env("AWS_ALLOW_HTTP", "true")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "key")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        assert_eq!(said, "", "nothing is damaged");
        Ok(String::from_utf8(output.stdout).expect("JSON is UTF-8"))
    } else {
        Err(said)
    }
}

#[test]
fn events_in_s3_are_asked_as_those_on_the_disk() {
    let Some(moto) = Moto::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    seal(dir.path(), &models(3, 3_000));
    let ask = |sql| ask(dir.path(), &moto.address, sql);
    let expected = QUERIES.map(|sql| ask(sql).unwrap());
    assert_eq!(expected[1].lines().count(), 3_000);
    let mut cold = place(dir.path(), &moto);
    for (sql, expected) in QUERIES.iter().zip(&expected) {
        assert_eq!(&ask(sql).unwrap(), expected, "{sql}");
    }
    let tiers = ask("SELECT tier, count(*) AS n FROM events GROUP BY tier ORDER BY tier").unwrap();
    assert_eq!(
        tiers,
        "{\"tier\":\"cold\",\"n\":2000}\n{\"tier\":\"warm\",\"n\":1000}\n"
    );

    // An object that was damaged there is named, and so is one that is gone; what leaves it out is answered.
    let (object, mut bytes) = cold.remove(1);
    bytes[1_000] ^= 1;
    moto.send("PUT", &path(&object), &bytes);
    for is_gone in [false, true] {
        if is_gone {
            moto.send("DELETE", &path(&object), &[]);
        }
        let said = ask(QUERIES[1]).unwrap_err();
        assert!(
            said.contains(&format!("error: {}, which has", object.location)),
            "{said}"
        );
        assert!(said.contains("events 1000 to 1999 of shard 0"), "{said}");
        let rest = ask("SELECT count(*) AS n FROM events WHERE \"offset\" < 1000").unwrap();
        assert_eq!(rest, "{\"n\":1000}\n");
    }
}
