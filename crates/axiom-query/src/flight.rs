//! Arrow Flight SQL: for notebooks and tools, on this machine.
//!
//! Nothing is kept between a client's requests: the handle of a statement is the statement. Parameters, transactions and
//! everything that changes something are refused.
//!
//! Rows of an answer that lacks events would pass for all, so such an answer ends with an error, unless the call has the header
//! `axiom-partial: true`. Then the `app_metadata` of its last message is JSON: `{"warnings": [...]}`.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightServiceServer;
use arrow_flight::sql::metadata::{SqlInfoData, SqlInfoDataBuilder};
use arrow_flight::sql::server::FlightSqlService;
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedStatementResult, Any, CommandGetCatalogs, CommandGetDbSchemas, CommandGetSqlInfo,
    CommandGetTableTypes, CommandGetTables, CommandPreparedStatementQuery, CommandStatementQuery, SqlInfo,
};
use arrow_flight::{
    Action, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest, HandshakeResponse,
    IpcMessage, SchemaAsIpc, Ticket,
};
use axiom_core::{Task, spawn};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use crate::engine::{Answer, Engine, cancel};
use crate::fault::{Code, Fault};
use crate::views::VIEWS;

type Data = Pin<Box<dyn Stream<Item = Result<FlightData, Status>> + Send>>;

const CATALOG: &str = "axiom";
const SCHEMA: &str = "public";
/// The call header by which a client takes an answer that lacks events.
const PARTIAL: &str = "axiom-partial";

/// A server that runs as long as this is held.
#[derive(Debug)]
pub struct Listening {
    address: SocketAddr,
    serving: Task,
}

impl Listening {
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Serves at an address of this machine; port 0 picks a free one.
///
/// # Errors
/// When the address is not this machine's own, or cannot be listened at.
pub async fn listen(address: SocketAddr, engine: Engine) -> anyhow::Result<Listening> {
    anyhow::ensure!(
        address.ip().is_loopback(),
        "{address} can be reached from other machines, and Flight SQL does not ask clients who they are: whoever reaches \
         it could read all events; listen at 127.0.0.1"
    );
    let listener = tokio::net::TcpListener::bind(address).await;
    let listener =
        listener.map_err(|error| anyhow::anyhow!("cannot listen at {address} for Flight SQL: {error}"))?;
    let address = listener.local_addr()?;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let service = FlightServiceServer::new(Service { engine });
    let serving = spawn("flight sql", async move {
        if let Err(error) = Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming)
            .await
        {
            tracing::error!(%error, "Flight SQL ended");
        }
    });
    Ok(Listening { address, serving })
}

#[derive(Debug, Clone)]
struct Service {
    engine: Engine,
}

impl Service {
    async fn info(&self, sql: &str, descriptor: FlightDescriptor) -> Result<Response<FlightInfo>, Status> {
        let schema = self.engine.describe(sql).await?;
        described(&schema, descriptor)
    }

    async fn rows(&self, sql: &str, is_partial: bool) -> Result<Response<Data>, Status> {
        // A client that wants no more drops the stream, and the query with it.
        let (_cancel, cancelled) = cancel();
        let answer = self.engine.run(sql, cancelled).await?;
        let schema = answer.schema();
        let warnings: Arc<OnceLock<Vec<String>>> = Arc::default();
        let told = Arc::clone(&warnings);
        let batches = stream::try_unfold((answer, told), move |(mut answer, told)| async move {
            let batch = next(&mut answer, is_partial)
                .await
                .map_err(|fault| FlightError::Tonic(Box::new(fault.into())))?;
            if batch.is_none() {
                let _first = told.set(answer.warnings()).is_ok();
            }
            Ok(batch.map(|batch| (batch, (answer, told))))
        });
        let data = encoded(schema, batches).into_inner();
        Ok(Response::new(told_at_the_end(data, warnings)))
    }
}

/// The next rows of an answer, of which none may be missing unless that is expected.
async fn next(answer: &mut Answer, is_partial: bool) -> Result<Option<RecordBatch>, Fault> {
    let batch = answer.next().await?;
    let warnings = answer.warnings();
    if is_partial || warnings.is_empty() {
        return Ok(batch);
    }
    let fault = Fault::incomplete(&warnings);
    Err(fault.hint("with the call header `axiom-partial: true` there are the rows that can be read"))
}

/// Whether the rows that there are will do.
fn is_partial<T>(request: &Request<T>) -> bool {
    let said = request.metadata().get(PARTIAL);
    said.is_some_and(|said| said.as_bytes().eq_ignore_ascii_case(b"true"))
}

/// Adds the warnings to the last message. Each message waits for the next one, to know whether it is the last.
fn told_at_the_end(data: Data, warnings: Arc<OnceLock<Vec<String>>>) -> Data {
    let state = (data, None::<FlightData>, warnings);
    let data = stream::try_unfold(state, |(mut data, mut held, warnings)| async move {
        while let Some(message) = data.try_next().await? {
            if let Some(before) = held.replace(message) {
                return Ok(Some((before, (data, held, warnings))));
            }
        }
        let Some(mut last) = held.take() else {
            return Ok(None);
        };
        if let Some(warnings) = warnings.get().filter(|warnings| !warnings.is_empty()) {
            last.app_metadata = serde_json::json!({ "warnings": warnings }).to_string().into();
        }
        Ok(Some((last, (data, None, warnings))))
    });
    data.boxed()
}

/// What is there, and the ticket to get it: the request itself.
fn described(schema: &Schema, descriptor: FlightDescriptor) -> Result<Response<FlightInfo>, Status> {
    let ticket = Ticket::new(descriptor.cmd.clone());
    let info = FlightInfo::new()
        .try_with_schema(schema)
        .map_err(|error| Status::internal(error.to_string()))?
        .with_endpoint(FlightEndpoint::new().with_ticket(ticket))
        .with_descriptor(descriptor);
    Ok(Response::new(info))
}

fn encoded(
    schema: SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch, FlightError>> + Send + 'static,
) -> Response<Data> {
    let data = FlightDataEncoderBuilder::new().with_schema(schema).build(batches);
    Response::new(data.map_err(Status::from).boxed())
}

fn built(batch: Result<RecordBatch, FlightError>) -> Result<Response<Data>, Status> {
    let batch = batch.map_err(Status::from)?;
    Ok(encoded(batch.schema(), stream::iter([Ok(batch)])))
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Status {
        let hint = fault
            .hint
            .as_ref()
            .map(|hint| format!("; {hint}"))
            .unwrap_or_default();
        let words = format!("{fault}{hint}");
        match fault.code {
            Code::Query => Status::invalid_argument(words),
            Code::Refused => Status::permission_denied(words),
            Code::Memory | Code::TooLarge => Status::resource_exhausted(words),
            Code::Timeout => Status::deadline_exceeded(words),
            Code::Cancelled => Status::cancelled(words),
            Code::Busy => Status::unavailable(words),
            Code::Absent => Status::not_found(words),
            Code::Incomplete => Status::data_loss(words),
            Code::Failed => Status::internal(words),
        }
    }
}

fn sql_of(handle: &Bytes) -> Result<&str, Status> {
    std::str::from_utf8(handle).map_err(|_| Status::invalid_argument("this handle is none of this server's"))
}

fn about_us() -> Result<SqlInfoData, Status> {
    let mut info = SqlInfoDataBuilder::new();
    info.append(SqlInfo::FlightSqlServerName, "Axiom");
    info.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    info.append(SqlInfo::FlightSqlServerArrowVersion, "1.3");
    info.append(SqlInfo::FlightSqlServerReadOnly, true);
    info.append(SqlInfo::FlightSqlServerSql, true);
    info.append(SqlInfo::FlightSqlServerSubstrait, false);
    info.append(SqlInfo::FlightSqlServerTransaction, 0i32);
    info.build().map_err(|error| Status::internal(error.to_string()))
}

#[tonic::async_trait]
impl FlightSqlService for Service {
    type FlightService = Service;

    /// Clients are not asked who they are.
    async fn do_handshake(
        &self,
        _request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Pin<Box<dyn Stream<Item = Result<HandshakeResponse, Status>> + Send>>>, Status> {
        Ok(Response::new(stream::empty().boxed()))
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.info(&query.query, request.into_inner()).await
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.info(sql_of(&query.prepared_statement_handle)?, request.into_inner())
            .await
    }

    /// The ticket of a statement is the statement.
    async fn do_get_fallback(
        &self,
        request: Request<Ticket>,
        message: Any,
    ) -> Result<Response<Data>, Status> {
        match message.unpack::<CommandStatementQuery>() {
            Ok(Some(query)) => self.rows(&query.query, is_partial(&request)).await,
            _ => Err(Status::unimplemented(format!(
                "{} is not answered here",
                message.type_url
            ))),
        }
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> Result<Response<Data>, Status> {
        let sql = sql_of(&query.prepared_statement_handle)?;
        self.rows(sql, is_partial(&request)).await
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        _request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let schema = self.engine.describe(&query.query).await?;
        let message: Result<IpcMessage, _> = SchemaAsIpc::new(&schema, &Default::default()).try_into();
        let IpcMessage(dataset_schema) = message.map_err(|error| Status::internal(error.to_string()))?;
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: query.query.into(),
            dataset_schema,
            parameter_schema: Bytes::new(),
        })
    }

    async fn do_action_close_prepared_statement(
        &self,
        _query: ActionClosePreparedStatementRequest,
        _request: Request<Action>,
    ) -> Result<(), Status> {
        Ok(())
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        described(&query.into_builder().schema(), request.into_inner())
    }

    async fn do_get_catalogs(
        &self,
        query: CommandGetCatalogs,
        _request: Request<Ticket>,
    ) -> Result<Response<Data>, Status> {
        let mut builder = query.into_builder();
        builder.append(CATALOG);
        built(builder.build())
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        described(&query.into_builder().schema(), request.into_inner())
    }

    async fn do_get_schemas(
        &self,
        query: CommandGetDbSchemas,
        _request: Request<Ticket>,
    ) -> Result<Response<Data>, Status> {
        let mut builder = query.into_builder();
        builder.append(CATALOG, SCHEMA);
        built(builder.build())
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        described(&query.into_builder().schema(), request.into_inner())
    }

    async fn do_get_tables(
        &self,
        query: CommandGetTables,
        _request: Request<Ticket>,
    ) -> Result<Response<Data>, Status> {
        let mut builder = query.into_builder();
        let views = VIEWS.map(|view| (view.name, "VIEW"));
        for (table, kind) in std::iter::once(("events", "TABLE")).chain(views) {
            let schema = self.engine.describe(&format!("SELECT * FROM {table}")).await?;
            builder
                .append(CATALOG, SCHEMA, table, kind, &schema)
                .map_err(Status::from)?;
        }
        built(builder.build())
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        described(&query.into_builder().schema(), request.into_inner())
    }

    async fn do_get_table_types(
        &self,
        query: CommandGetTableTypes,
        _request: Request<Ticket>,
    ) -> Result<Response<Data>, Status> {
        let mut builder = query.into_builder();
        for kind in ["TABLE", "VIEW"] {
            builder.append(kind);
        }
        built(builder.build())
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        described(&query.into_builder(&about_us()?).schema(), request.into_inner())
    }

    async fn do_get_sql_info(
        &self,
        query: CommandGetSqlInfo,
        _request: Request<Ticket>,
    ) -> Result<Response<Data>, Status> {
        built(query.into_builder(&about_us()?).build())
    }

    /// What we are does not change while we run.
    async fn register_sql_info(&self, _id: i32, _info: &SqlInfo) {}
}
