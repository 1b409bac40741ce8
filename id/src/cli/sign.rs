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
    let context = args.purpose.context();
    let signature = match context {
        Some(context) => key.sign(context, &message),
        None => match disguise(&message) {
            Some(what) => {
                return Err(eyre!(
                    "this message is {what} in disguise, and whoever wrote it could act in your name: do not sign it \
                     with --raw"
                ));
            }
            None => key.sign_raw(&message),
        },
    };
    if json {
        let fields = json!({ "id52": key.public_key(), "signature": signature, "context": context });
        output::object("signature", fields)
    } else {
        output::line(signature)
    }
}

/// Returns what a raw signature over these bytes would be, if it is known: the other bytes that the same key signs.
/// This catches mistakes. It is no protection from somebody who chooses the bytes, because there are formats of which
/// this program does not know.
fn disguise(message: &[u8]) -> Option<&'static str> {
    /// RFC 8446, section 4.4.3.
    const HANDSHAKE: [u8; 64] = [b' '; 64];

    if message.starts_with(delegation::CONTEXT) {
        Some("a delegation (`id52 delegate` makes one that you mean)")
    } else if message.starts_with(&HANDSHAKE) {
        Some("a TLS handshake")
    } else if message.starts_with(b"3:seqi") || message.starts_with(b"4:salt") {
        // BEP 44, "Signature Generation".
        Some("an address record")
    } else {
        None
    }
}
