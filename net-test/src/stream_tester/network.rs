//! The endpoint that the options ask for.

use twolane::{Builder, Endpoint, storage};

use crate::{
    cli::{Net, Problem},
    exit::Exit,
};

/// A key for either subcommand, if no file is named.
const KEY: &str = "STREAM_TESTER_KEY";

/// An endpoint as the options say.
pub(super) fn builder(net: &Net) -> Result<Builder, Problem> {
    let key = match &net.key_file {
        Some(path) => storage::file::load_or_create(path).map(Some).map_err(|error| unusable(&error)),
        None => storage::env::from_env(KEY).map_err(|error| unusable(&error)),
    };
    let mut builder = Endpoint::builder();
    if let Some(key) = key? {
        builder = builder.secret_key(key);
    }
    if net.offline {
        builder = builder.offline();
    }
    builder = net.relay.iter().fold(builder, |builder, relay| builder.relay(relay.as_str()));
    Ok(net.bind.iter().fold(builder, |builder, addr| builder.bind_addr(*addr)))
}

fn unusable(error: &(dyn std::error::Error + 'static)) -> Problem {
    Problem::because(Exit::Usage, "the key cannot be used", error)
}
