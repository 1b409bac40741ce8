//! `id52 show`

use data_encoding::HEXLOWER;
use eyre::WrapErr;
use serde_json::json;
use twolane_id::{PublicKey, SecretKey};

use super::{args::Show, input, output, source};

pub(super) fn run(args: &Show, json: bool) -> eyre::Result<()> {
    match args.id52.as_deref() {
        Some("-") => {
            let text = input::text_from_stdin()?;
            let id = text.parse().wrap_err("standard input is not an id52")?;
            print(&id, None, json)
        }
        Some(text) => print(&source::parse_id52(text)?, None, json),
        None => {
            let key = args.key.load()?;
            print(&key.public_key(), Some(&key).filter(|_| args.show_secret), json)
        }
    }
}

fn print(id: &PublicKey, secret: Option<&SecretKey>, json: bool) -> eyre::Result<()> {
    if json {
        let mut fields = json!({ "id52": id, "public_key": HEXLOWER.encode(id.as_bytes()) });
        if let Some(secret) = secret {
            fields["secret_key"] = json!(*secret.to_hex());
        }
        return output::object("key", fields);
    }
    output::line(id)?;
    secret.map_or(Ok(()), |secret| output::line(&*secret.to_hex()))
}
