//! `calls` and `tasks`: what is asked for most, as views over `events`.

/// A view: its name, its query, and what its columns mean.
#[derive(Debug)]
pub struct View {
    pub name: &'static str,
    pub sql: &'static str,
    pub about: &'static str,
}

pub const VIEWS: [View; 2] = [
    View {
        name: "calls",
        about: "one row for each request of a client, from the events of kind gateway.call",
        sql: r#"
SELECT "time", task AS call, tenant,
       json_get_str(body, 'server') AS server, json_get_str(body, 'method') AS method, json_get_str(body, 'name') AS name,
       json_get_str(body, 'outcome') AS outcome, json_get_int(body, 'code') AS code, "level",
       json_get_int(body, 'duration_us') AS duration_us,
       json_get_int(body, 'request_bytes') AS request_bytes, json_get_int(body, 'response_bytes') AS response_bytes,
       json_get_str(body, 'endpoint') AS endpoint, json_get_str(body, 'transport') AS transport,
       json_get_str(body, 'session') AS session,
       json_get_str(body, 'client_revision') AS client_revision, json_get_str(body, 'server_revision') AS server_revision,
       json_get_json(body, 'request') AS request, json_get_json(body, 'response') AS response,
       trace, stream, shard, "offset"
FROM events WHERE kind = 'gateway.call'"#,
    },
    View {
        name: "tasks",
        about: "one row for each task that an event is about",
        sql: r#"
SELECT tenant, task, min("time") AS first_time, max("time") AS last_time, count(*) AS events,
       count(*) FILTER (WHERE severity >= 4) AS errors, count(DISTINCT kind) AS kinds,
       sum(byte_count(body_bytes)) AS bytes
FROM events WHERE task <> '' GROUP BY tenant, task"#,
    },
];
