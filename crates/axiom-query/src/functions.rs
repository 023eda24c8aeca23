//! Functions of our own, beside DataFusion's and those for JSON.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt64Array};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::exec_err;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// `byte_count(bytes)`: how many bytes; `octet_length` takes only texts.
pub(crate) fn byte_count() -> ScalarUDF {
    ScalarUDF::from(ByteCount {
        signature: Signature::uniform(
            1,
            vec![DataType::Binary, DataType::Utf8View],
            Volatility::Immutable,
        ),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ByteCount {
    signature: Signature,
}

impl ScalarUDFImpl for ByteCount {
    fn name(&self) -> &str {
        "byte_count"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::UInt64)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let counts = match arrays.first() {
            Some(array) => lengths(array)?,
            None => return exec_err!("byte_count needs an argument"),
        };
        Ok(ColumnarValue::Array(Arc::new(counts)))
    }
}

fn lengths(array: &ArrayRef) -> Result<UInt64Array> {
    Ok(match array.data_type() {
        DataType::Binary => {
            let values = array.as_binary::<i32>().iter();
            values
                .map(|value| value.map(|value| value.len() as u64))
                .collect()
        }
        DataType::Utf8View => {
            let values = array.as_string_view().iter();
            values
                .map(|value| value.map(|value| value.len() as u64))
                .collect()
        }
        other => return exec_err!("byte_count does not take {other}"),
    })
}
