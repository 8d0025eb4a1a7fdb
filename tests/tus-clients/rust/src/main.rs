//! Uploads one file with the crate tus-uploader as the JSON on standard input says, and prints URL and offset as JSON.
//!
//! Keys: `endpoint`, `path`; `url` to go on with an upload; `metadata`; `chunk_size`, `part_size` (parallel parts that
//! are concatenated), `initial_size` (bytes that the creation may carry), all in bytes; `checksum`: `header` or
//! `trailer`.

use std::{collections::HashMap, error::Error, io, time::Duration};

use serde_json::{Value, json};
use tus_uploader::{ChecksumAlgorithm, ChecksumMode, Client, FileSource, ParallelUpload};
use url::Url;

fn bytes(wanted: &Value, key: &str) -> Option<usize> {
    wanted[key].as_u64().and_then(|number| usize::try_from(number).ok())
}

fn text<'a>(wanted: &'a Value, key: &str) -> Result<&'a str, String> {
    wanted[key].as_str().ok_or_else(|| format!("{key} is missing"))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let wanted: Value = serde_json::from_reader(io::stdin())?;
    let source = FileSource::open(text(&wanted, "path")?).await?;
    let metadata: HashMap<String, String> = match &wanted["metadata"] {
        Value::Null => HashMap::new(),
        given => serde_json::from_value(given.clone())?,
    };
    let mut client = Client::new(Url::parse(text(&wanted, "endpoint")?)?)
        .with_max_retries(8)
        .with_retry_delay(Duration::from_millis(100))
        .with_max_initial_upload_size(bytes(&wanted, "initial_size").unwrap_or(0));
    if let Some(size) = bytes(&wanted, "chunk_size") {
        client = client.with_max_chunk_size(size);
    }
    client = match wanted["checksum"].as_str() {
        None => client,
        Some("header") => client.with_checksum(ChecksumMode::Header(ChecksumAlgorithm::Sha256)),
        Some("trailer") => client.with_checksum(ChecksumMode::Trailer(ChecksumAlgorithm::Sha1)),
        Some(other) => return Err(format!("checksum is header or trailer, not {other}").into()),
    };
    let done = if let Some(url) = wanted["url"].as_str() {
        client.upload_at(url)?.upload(source).await?
    } else if let Some(size) = bytes(&wanted, "part_size") {
        client.upload_parallel(source, &metadata, ParallelUpload::new(size).with_max_concurrency(3)).await?
    } else {
        client.upload_from(source, &metadata).await?
    };
    println!("{}", json!({ "url": done.url().as_str(), "offset": done.offset() }));
    Ok(())
}
