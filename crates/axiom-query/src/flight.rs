//! Arrow Flight SQL: for notebooks and tools, on this machine.
//!
//! Nothing is kept between a client's requests: the handle of a statement is the statement. Parameters, transactions and
//! everything that changes something are refused.

use std::net::SocketAddr;
use std::pin::Pin;

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

    async fn rows(&self, sql: &str) -> Result<Response<Data>, Status> {
        // A client that wants no more drops the stream, and the query with it.
        let (_cancel, cancelled) = cancel();
        let answer = self.engine.run(sql, cancelled).await?;
        let schema = answer.schema();
        let batches = stream::try_unfold(answer, |mut answer: Answer| async move {
            let batch = answer
                .next()
                .await
                .map_err(|fault| FlightError::Tonic(Box::new(fault.into())))?;
            if batch.is_none() {
                for warning in answer.warnings() {
                    tracing::warn!(warning, "an answer over Flight SQL is not whole");
                }
            }
            Ok(batch.map(|batch| (batch, answer)))
        });
        Ok(encoded(schema, batches))
    }
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
    batches: impl Stream<Item = Result<arrow::array::RecordBatch, FlightError>> + Send + 'static,
) -> Response<Data> {
    let data = FlightDataEncoderBuilder::new().with_schema(schema).build(batches);
    Response::new(data.map_err(Status::from).boxed())
}

fn built(batch: Result<arrow::array::RecordBatch, FlightError>) -> Result<Response<Data>, Status> {
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
        _request: Request<Ticket>,
        message: Any,
    ) -> Result<Response<Data>, Status> {
        match message.unpack::<CommandStatementQuery>() {
            Ok(Some(query)) => self.rows(&query.query).await,
            _ => Err(Status::unimplemented(format!(
                "{} is not answered here",
                message.type_url
            ))),
        }
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        _request: Request<Ticket>,
    ) -> Result<Response<Data>, Status> {
        self.rows(sql_of(&query.prepared_statement_handle)?).await
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
