//! `id52 sign`

use eyre::eyre;
use serde_json::json;
use twolane_id::delegation;

use super::{args::Sign, failure::Usage, input, output};

pub(super) fn run(args: &Sign, json: bool) -> eyre::Result<()> {
    if args.key.is_stdin() && input::is_stdin(&args.message) {
        return Err(Usage("standard input cannot be both the key and the message: name a FILE for one").into());
    }
    let key = args.key.load()?;
    let message = input::message(&args.message)?;
    if message.starts_with(delegation::CONTEXT) {
        return Err(eyre!(
            "this message is a delegation in disguise, and whoever wrote it could act for you: do not sign it; \
             `id52 delegate` makes one that you mean"
        ));
    }
    let signature = key.sign(&message);
    if json {
        output::object("signature", json!({ "id52": key.public_key(), "signature": signature }))
    } else {
        output::line(signature)
    }
}
