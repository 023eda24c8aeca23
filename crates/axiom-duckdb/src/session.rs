//! From a database to the rows of a query: each part holds the part that it comes from.
#![allow(unsafe_code, reason = "calls DuckDB's functions; each says why it may")]

use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::api::{self, Api, RawResult, SUCCESS};
use crate::import::{Imported, ImportedArray};
use crate::library::Library;

/// What DuckDB says went wrong, like `Parser Error: syntax error at ...`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DuckDbError(pub String);

/// A database in memory.
#[derive(Debug, Clone)]
pub struct Database(Arc<OpenDatabase>);

struct OpenDatabase {
    api: Arc<Api>,
    pointer: *mut api::Database,
}

/// A connection. Its queries run one after the other: a new one ends what still runs and waits for that, and from DuckDB 2.0 on
/// is refused meanwhile.
#[derive(Debug)]
pub struct Connection(Arc<OpenConnection>);

/// Ends the query that runs in a connection, from wherever it is called.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<OpenConnection>);

struct OpenConnection {
    database: Arc<OpenDatabase>,
    pointer: *mut api::Connection,
}

/// A statement that was understood, and not run yet.
#[derive(Debug)]
pub struct Statement {
    connection: Arc<OpenConnection>,
    pointer: *mut api::Prepared,
}

/// What sort of statement it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It gives rows and changes nothing, as far as its functions change nothing.
    Select,
    /// It tells how another statement would be run, and may run that.
    Explain,
    Other,
}

/// A query that is about to run. From here on an [`Interrupt`] ends it; an earlier one is forgotten. Dropping it ends what runs
/// in its connection.
#[derive(Debug)]
pub struct Run {
    connection: Arc<OpenConnection>,
    pointer: *mut api::Pending,
    /// Whether rows came of it, which are what runs now.
    has_run: bool,
    statement: Statement,
}

/// The rows of an answer, made as they are taken where DuckDB can. Dropping them before the last ends what runs in their
/// connection.
#[derive(Debug)]
pub struct Rows {
    schema: SchemaRef,
    has_ended: bool,
    result: RawRows,
    options: *mut api::ArrowOptions,
}

/// A result, which is freed whatever becomes of it.
#[derive(Debug)]
struct RawRows {
    connection: Arc<OpenConnection>,
    raw: RawResult,
}

// SAFETY: a database may be used and closed by any thread; it locks what it shares.
unsafe impl Send for OpenDatabase {}
// SAFETY: as above.
unsafe impl Sync for OpenDatabase {}
// SAFETY: a connection locks itself for each call. `interrupt` alone is meant to be called while another call runs.
unsafe impl Send for OpenConnection {}
// SAFETY: as above.
unsafe impl Sync for OpenConnection {}
// SAFETY: nothing in them is bound to the thread that made it, and each is used by one thread at a time: none of their
// functions takes `&self` and changes something.
unsafe impl Send for Statement {}
// SAFETY: as above.
unsafe impl Send for Run {}
// SAFETY: as above.
unsafe impl Send for RawRows {}
// SAFETY: as above.
unsafe impl Send for Rows {}

impl Database {
    /// Opens an empty database in memory.
    ///
    /// # Errors
    /// When DuckDB cannot start.
    pub fn open(library: &Library) -> Result<Database, DuckDbError> {
        let api = Arc::clone(&library.api);
        let mut pointer = ptr::null_mut();
        let mut said = ptr::null_mut();
        // SAFETY: no path is a database in memory, no configuration the usual one; both places are ours to be written.
        let state = unsafe { (api.open_ext)(ptr::null(), &raw mut pointer, ptr::null_mut(), &raw mut said) };
        if state == SUCCESS {
            return Ok(Database(Arc::new(OpenDatabase { api, pointer })));
        }
        // SAFETY: what was said is null or a text of DuckDB's, which is ours to free.
        let error = unsafe {
            let error = error(said);
            (api.free)(said.cast());
            error
        };
        Err(error)
    }

    /// # Errors
    /// When there is no memory.
    pub fn connect(&self) -> Result<Connection, DuckDbError> {
        let mut pointer = ptr::null_mut();
        // SAFETY: the database is open as long as it is held, and the place is ours to be written.
        let state = unsafe { (self.0.api.connect)(self.0.pointer, &raw mut pointer) };
        if state != SUCCESS {
            return Err(DuckDbError("there is no connection to DuckDB".to_owned()));
        }
        let database = Arc::clone(&self.0);
        Ok(Connection(Arc::new(OpenConnection { database, pointer })))
    }
}

impl Connection {
    /// Runs statements for what they do; their rows are thrown away.
    ///
    /// # Errors
    /// What DuckDB says against it.
    pub fn execute(&self, sql: &str) -> Result<(), DuckDbError> {
        let text = terminated(sql)?;
        let mut rows = RawRows::new(&self.0);
        // SAFETY: the connection is open, the text ends with a zero, and the result is freed by its owner.
        let state = unsafe { (self.0.api().query)(self.0.pointer, text.as_ptr(), &raw mut rows.raw) };
        if state == SUCCESS {
            Ok(())
        } else {
            Err(rows.error())
        }
    }

    /// The statements of a text; none if it says nothing.
    ///
    /// # Errors
    /// When it is not SQL, or about things that are not there.
    pub fn statements(&self, sql: &str) -> Result<Statements, DuckDbError> {
        let text = terminated(sql)?;
        let mut statements = Statements {
            connection: Arc::clone(&self.0),
            pointer: ptr::null_mut(),
            count: 0,
        };
        let api = self.0.api();
        // SAFETY: the connection is open, the text ends with a zero; what is extracted is freed by its owner. Its error is
        // null or a text that lives as long.
        let said = unsafe {
            statements.count =
                (api.extract_statements)(self.0.pointer, text.as_ptr(), &raw mut statements.pointer);
            let said = (api.extract_statements_error)(statements.pointer);
            (statements.count == 0 && !said.is_null() && *said != 0).then(|| error(said))
        };
        said.map_or(Ok(statements), Err)
    }

    pub fn interrupt(&self) -> Interrupt {
        Interrupt(Arc::clone(&self.0))
    }
}

impl Interrupt {
    pub fn interrupt(&self) {
        // SAFETY: the connection is open as long as it is held, and this is what may be called beside everything else.
        unsafe { (self.0.api().interrupt)(self.0.pointer) };
    }
}

/// The statements of one text.
#[derive(Debug)]
pub struct Statements {
    connection: Arc<OpenConnection>,
    pointer: *mut api::Extracted,
    count: u64,
}

impl Statements {
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Understands the first one: its tables and columns are looked up.
    ///
    /// # Errors
    /// When it is about things that are not there.
    pub fn first(&self) -> Result<Statement, DuckDbError> {
        if self.count == 0 {
            return Err(DuckDbError("there is no statement".to_owned()));
        }
        let api = self.connection.api();
        let mut statement = Statement {
            connection: Arc::clone(&self.connection),
            pointer: ptr::null_mut(),
        };
        // SAFETY: the connection is open and there is a first statement; what is made of it is freed by its owner, and an
        // error lives as long.
        unsafe {
            let state = (api.prepare_extracted_statement)(
                self.connection.pointer,
                self.pointer,
                0,
                &raw mut statement.pointer,
            );
            if state == SUCCESS {
                Ok(statement)
            } else {
                Err(error((api.prepare_error)(statement.pointer)))
            }
        }
    }
}

impl Statement {
    pub fn kind(&self) -> Kind {
        // SAFETY: the statement is there until it is dropped.
        let kind = unsafe { (self.connection.api().prepared_statement_type)(self.pointer) };
        match kind {
            1 => Kind::Select,
            4 => Kind::Explain,
            _ => Kind::Other,
        }
    }

    /// Gets ready to run. Whoever may interrupt it says so before it calls [`Run::rows`] and asks whether that is still wanted:
    /// an interrupt that comes after this call ends the query, one that came before does not.
    ///
    /// # Errors
    /// What DuckDB says against it.
    pub fn begin(self) -> Result<Run, DuckDbError> {
        let connection = Arc::clone(&self.connection);
        let api = connection.api();
        let pending = api.pending_prepared_streaming.unwrap_or(api.pending_prepared);
        let mut run = Run {
            connection: Arc::clone(&connection),
            pointer: ptr::null_mut(),
            has_run: false,
            statement: self,
        };
        // SAFETY: the statement is held by the run, which also frees what is written here; an error lives as long.
        unsafe {
            let state = pending(run.statement.pointer, &raw mut run.pointer);
            if state == SUCCESS {
                Ok(run)
            } else {
                Err(error((api.pending_error)(run.pointer)))
            }
        }
    }
}

impl Run {
    /// Runs up to the first rows.
    ///
    /// # Errors
    /// What DuckDB says against it; that it was interrupted, too.
    pub fn rows(mut self) -> Result<Rows, DuckDbError> {
        self.has_run = true;
        let mut result = RawRows::new(&self.connection);
        // SAFETY: the run is there until it is dropped; the result is freed by its owner.
        let state = unsafe { (self.connection.api().execute_pending)(self.pointer, &raw mut result.raw) };
        if state != SUCCESS {
            return Err(result.error());
        }
        Rows::new(result)
    }
}

impl Rows {
    fn new(mut result: RawRows) -> Result<Rows, DuckDbError> {
        let connection = Arc::clone(&result.connection);
        let api = connection.api();
        // SAFETY: the result is there; its options are freed by their owner, which is made next.
        let options = unsafe { (api.result_get_arrow_options)(&raw mut result.raw) };
        let mut rows = Rows {
            schema: SchemaRef::new(arrow::datatypes::Schema::empty()),
            has_ended: false,
            result,
            options,
        };
        let mut types = Vec::new();
        let mut names = Vec::new();
        let raw = &raw mut rows.result.raw;
        let mut imported = Imported::empty();
        // SAFETY: columns are asked for within their count; names live as long as the result, types until they are freed
        // below, once each; the schema is released by its owner.
        let answer = unsafe {
            for column in 0..(api.column_count)(raw) {
                names.push((api.column_name)(raw, column));
                types.push((api.column_logical_type)(raw, column));
            }
            let count = names.len() as u64;
            let said = (api.to_arrow_schema)(
                options,
                types.as_mut_ptr(),
                names.as_mut_ptr(),
                count,
                imported.place(),
            );
            for kind in &mut types {
                (api.destroy_logical_type)(kind);
            }
            answer(api, said)
        };
        answer?;
        rows.schema = SchemaRef::new(imported.schema()?);
        Ok(rows)
    }

    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The next rows, some thousands at most; `None` behind the last.
    ///
    /// # Errors
    /// What DuckDB says against it; that it was interrupted, too.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>, DuckDbError> {
        let api = Arc::clone(&self.result.connection.database.api);
        let mut imported = ImportedArray::empty();
        // SAFETY: the result is there and is given by value, as the function takes it. A chunk is freed here, once; what
        // was made of it is a copy or holds what it needs, and is released by its owner.
        let answer = unsafe {
            let mut chunk = (api.fetch_chunk)(self.result.raw);
            if chunk.is_null() {
                self.has_ended = true;
                let said = (api.result_error)(&raw mut self.result.raw);
                let is_error = !said.is_null() && *said != 0;
                return if is_error { Err(error(said)) } else { Ok(None) };
            }
            let said = (api.data_chunk_to_arrow)(self.options, chunk, imported.place());
            let answer = answer(&api, said);
            (api.destroy_data_chunk)(&raw mut chunk);
            answer
        };
        answer?;
        imported.batch(&self.schema).map(Some)
    }
}

impl RawRows {
    fn new(connection: &Arc<OpenConnection>) -> RawRows {
        RawRows {
            connection: Arc::clone(connection),
            raw: RawResult::empty(),
        }
    }

    fn error(&mut self) -> DuckDbError {
        let connection = Arc::clone(&self.connection);
        // SAFETY: the result was filled by the call that failed, and its error lives as long as it does.
        unsafe { error((connection.api().result_error)(&raw mut self.raw)) }
    }
}

impl OpenConnection {
    fn api(&self) -> &Api {
        &self.database.api
    }
}

/// # Safety
/// It is null or an error of DuckDB's that nobody else frees.
unsafe fn answer(api: &Api, mut said: *mut api::ErrorData) -> Result<(), DuckDbError> {
    // SAFETY: as above; the text lives until the error is freed, and is copied before.
    unsafe {
        let is_error = !said.is_null() && (api.error_data_has_error)(said);
        let answer = if is_error {
            Err(error((api.error_data_message)(said)))
        } else {
            Ok(())
        };
        (api.destroy_error_data)(&raw mut said);
        answer
    }
}

/// # Safety
/// It is null or a text that ends with a zero.
unsafe fn error(said: *const c_char) -> DuckDbError {
    if said.is_null() {
        return DuckDbError("DuckDB does not say why".to_owned());
    }
    // SAFETY: as above.
    let text = unsafe { CStr::from_ptr(said) };
    DuckDbError(text.to_string_lossy().into_owned())
}

fn terminated(sql: &str) -> Result<CString, DuckDbError> {
    CString::new(sql)
        .map_err(|_| DuckDbError("Parser Error: there is a zero character in the text".to_owned()))
}

impl Drop for OpenDatabase {
    fn drop(&mut self) {
        // SAFETY: nobody holds it any more: connections hold their database.
        unsafe { (self.api.close)(&raw mut self.pointer) };
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        // SAFETY: nobody holds it any more: statements, runs, rows and interrupts hold their connection.
        unsafe { (self.database.api.disconnect)(&raw mut self.pointer) };
    }
}

impl Drop for Statements {
    fn drop(&mut self) {
        // SAFETY: what was made of it does not need it; null is taken too.
        unsafe { (self.connection.api().destroy_extracted)(&raw mut self.pointer) };
    }
}

impl Drop for Statement {
    fn drop(&mut self) {
        // SAFETY: a run holds its statement; null is taken too.
        unsafe { (self.connection.api().destroy_prepare)(&raw mut self.pointer) };
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // DuckDB waits here for threads that have begun already, and they look for an interrupt only.
        if !self.has_run {
            Interrupt(Arc::clone(&self.connection)).interrupt();
        }
        // SAFETY: its result, if there is one, stands by itself; null is taken too.
        unsafe { (self.connection.api().destroy_pending)(&raw mut self.pointer) };
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        // As with a run: what frees the result waits.
        if !self.has_ended {
            Interrupt(Arc::clone(&self.result.connection)).interrupt();
        }
        // SAFETY: nobody else has them; null is taken too.
        unsafe { (self.result.connection.api().destroy_arrow_options)(&raw mut self.options) };
    }
}

impl Drop for RawRows {
    fn drop(&mut self) {
        // SAFETY: nobody else has it; one that was never filled is taken too.
        unsafe { (self.connection.api().destroy_result)(&raw mut self.raw) };
    }
}

impl std::fmt::Debug for OpenDatabase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenDatabase").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for OpenConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenConnection").finish_non_exhaustive()
    }
}
