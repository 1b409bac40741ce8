//! `id52 verify`

use serde_json::json;
use twolane_id::Signature;

use super::{args::Verify, input, output, source};

pub(super) fn run(args: &Verify, json: bool) -> eyre::Result<()> {
    let id = source::parse_id52(&args.id52)?;
    let signature: Signature = input::argument(&args.signature, "the argument SIGNATURE is not a signature")?;
    let message = input::message(&args.message)?;
    let context = args.purpose.context();
    match context {
        Some(context) => id.verify(context, &message, &signature)?,
        None => id.verify_raw(&message, &signature)?,
    }
    if json {
        return output::object("verified", json!({ "id52": id, "valid": true, "context": context }));
    }
    match context {
        Some(context) => {
            output::talk(format_args!("The signature is {id}'s for exactly this message and the purpose {context:?}."));
        }
        None => output::talk(format_args!("The raw signature is {id}'s for exactly these bytes.")),
    }
    Ok(())
}
