//! `id52 sign`

use color_eyre::eyre;
use serde_json::json;

use super::{args::Sign, failure::Usage, input, output};

pub(super) fn run(args: &Sign, json: bool) -> eyre::Result<()> {
    if args.key.is_stdin() && input::is_stdin(&args.message) {
        return Err(Usage("standard input cannot be both the key and the message: name a FILE for one").into());
    }
    let key = args.key.load()?;
    let signature = key.sign(&input::message(&args.message)?);
    if json {
        output::object("signature", json!({ "id52": key.public_key(), "signature": signature }))
    } else {
        output::line(signature)
    }
}
