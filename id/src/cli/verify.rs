//! `id52 verify`

use serde_json::json;
use twolane_id::Signature;

use super::{args::Verify, input, output, source};

pub(super) fn run(args: &Verify, json: bool) -> eyre::Result<()> {
    let id = source::parse_id52(&args.id52)?;
    let signature: Signature = input::argument(&args.signature, "the argument SIGNATURE is not a signature")?;
    id.verify(&input::message(&args.message)?, &signature)?;
    if json {
        output::object("verified", json!({ "id52": id, "valid": true }))
    } else {
        output::talk(format_args!("The signature is {id}'s for exactly this message."));
        Ok(())
    }
}
