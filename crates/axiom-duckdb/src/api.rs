//! The functions of DuckDB's C API that are used here, as `duckdb.h` of version 1.5 declares them, and Arrow's C Data Interface.
//!
//! All of them are in every version from [`crate::VERSION_MIN`] on. The one that the header says may go some day is optional.
#![allow(
    unsafe_code,
    reason = "the signatures of functions that are found in a library at run time"
)]

use std::ffi::{c_char, c_void};

/// Success is 0.
pub(crate) type State = u32;
pub(crate) const SUCCESS: State = 0;

macro_rules! opaque {
    ($($name:ident)*) => { $(
        /// Something of DuckDB's, seen through a pointer only.
        #[repr(C)]
        pub(crate) struct $name {
            _private: [u8; 0],
        }
    )* };
}

opaque! { Database Connection Extracted Prepared Pending LogicalType Chunk ArrowOptions ErrorData }

/// `duckdb_result`: what its fields once were is of no interest, but their size is part of every call.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawResult {
    column_count: u64,
    row_count: u64,
    rows_changed: u64,
    columns: *mut c_void,
    error_message: *mut c_char,
    internal_data: *mut c_void,
}

impl RawResult {
    pub(crate) fn empty() -> RawResult {
        RawResult {
            column_count: 0,
            row_count: 0,
            rows_changed: 0,
            columns: std::ptr::null_mut(),
            error_message: std::ptr::null_mut(),
            internal_data: std::ptr::null_mut(),
        }
    }
}

/// `struct ArrowSchema` of the C Data Interface: the type of a column, and of what is within it.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct ArrowSchema {
    pub(crate) format: *const c_char,
    pub(crate) name: *const c_char,
    pub(crate) metadata: *const c_char,
    pub(crate) flags: i64,
    pub(crate) n_children: i64,
    pub(crate) children: *mut *mut ArrowSchema,
    pub(crate) dictionary: *mut ArrowSchema,
    pub(crate) release: Option<unsafe extern "C" fn(*mut ArrowSchema)>,
    pub(crate) private_data: *mut c_void,
}

/// `struct ArrowArray` of the C Data Interface: the values.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct ArrowArray {
    pub(crate) length: i64,
    pub(crate) null_count: i64,
    pub(crate) offset: i64,
    pub(crate) n_buffers: i64,
    pub(crate) n_children: i64,
    pub(crate) buffers: *mut *const c_void,
    pub(crate) children: *mut *mut ArrowArray,
    pub(crate) dictionary: *mut ArrowArray,
    pub(crate) release: Option<unsafe extern "C" fn(*mut ArrowArray)>,
    pub(crate) private_data: *mut c_void,
}

macro_rules! functions {
    ($( fn $name:ident($($kind:ty),*) $(-> $answer:ty)?; )*) => {
        /// The functions, found once. They stay where they are: a library is never unloaded.
        pub(crate) struct Api {
            $( pub(crate) $name: unsafe extern "C" fn($($kind),*) $(-> $answer)?, )*
            /// Gives rows while the query still runs. Its header says that it may go; [`Api::pending_prepared`] is used then,
            /// which makes all rows first.
            pub(crate) pending_prepared_streaming: Option<unsafe extern "C" fn(*mut Prepared, *mut *mut Pending) -> State>,
        }

        impl Api {
            /// # Safety
            /// The library is DuckDB's, of a version from [`crate::VERSION_MIN`] on, and stays loaded.
            pub(crate) unsafe fn find(library: &libloading::Library) -> Result<Api, libloading::Error> {
                // SAFETY: the functions have these signatures in DuckDB's header, and the caller vouches for the library.
                unsafe {
                    Ok(Api {
                        $( $name: *library.get(concat!("duckdb_", stringify!($name)))?, )*
                        pending_prepared_streaming: library
                            .get("duckdb_pending_prepared_streaming")
                            .ok()
                            .map(|function| *function),
                    })
                }
            }
        }
    };
}

functions! {
    fn open_ext(*const c_char, *mut *mut Database, *mut c_void, *mut *mut c_char) -> State;
    fn close(*mut *mut Database);
    fn connect(*mut Database, *mut *mut Connection) -> State;
    fn disconnect(*mut *mut Connection);
    fn interrupt(*mut Connection);
    fn free(*mut c_void);

    fn query(*mut Connection, *const c_char, *mut RawResult) -> State;
    fn destroy_result(*mut RawResult);
    fn result_error(*mut RawResult) -> *const c_char;

    fn extract_statements(*mut Connection, *const c_char, *mut *mut Extracted) -> u64;
    fn extract_statements_error(*mut Extracted) -> *const c_char;
    fn destroy_extracted(*mut *mut Extracted);
    fn prepare_extracted_statement(*mut Connection, *mut Extracted, u64, *mut *mut Prepared) -> State;
    fn prepare_error(*mut Prepared) -> *const c_char;
    fn prepared_statement_type(*mut Prepared) -> u32;
    fn destroy_prepare(*mut *mut Prepared);

    fn pending_prepared(*mut Prepared, *mut *mut Pending) -> State;
    fn pending_error(*mut Pending) -> *const c_char;
    fn execute_pending(*mut Pending, *mut RawResult) -> State;
    fn destroy_pending(*mut *mut Pending);

    fn column_count(*mut RawResult) -> u64;
    fn column_name(*mut RawResult, u64) -> *const c_char;
    fn column_logical_type(*mut RawResult, u64) -> *mut LogicalType;
    fn destroy_logical_type(*mut *mut LogicalType);
    fn fetch_chunk(RawResult) -> *mut Chunk;
    fn destroy_data_chunk(*mut *mut Chunk);

    fn result_get_arrow_options(*mut RawResult) -> *mut ArrowOptions;
    fn destroy_arrow_options(*mut *mut ArrowOptions);
    fn to_arrow_schema(*mut ArrowOptions, *mut *mut LogicalType, *mut *const c_char, u64, *mut ArrowSchema) -> *mut ErrorData;
    fn data_chunk_to_arrow(*mut ArrowOptions, *mut Chunk, *mut ArrowArray) -> *mut ErrorData;
    fn error_data_has_error(*mut ErrorData) -> bool;
    fn error_data_message(*mut ErrorData) -> *const c_char;
    fn destroy_error_data(*mut *mut ErrorData);
}
