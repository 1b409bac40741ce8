//! `id52 generate`

use serde_json::json;
use twolane_id::{SecretKey, storage};

use super::{args::Generate, failure::Usage, input, output};

pub(super) fn run(args: &Generate, json: bool) -> eyre::Result<()> {
    let key = SecretKey::try_generate()?;
    let id = key.public_key();
    let to_stdout = args.key_file.as_deref().is_some_and(input::is_stdin);

    let stored_in = match &args.key_file {
        _ if to_stdout => None,
        Some(path) => {
            storage::file::create(path, &key)?;
            Some(path.display().to_string())
        }
        None if args.keyring => {
            store_in_keyring(&key)?;
            Some("the keyring".to_owned())
        }
        None => return Err(Usage("nowhere to store the key: use --key-file or --keyring").into()),
    };

    let show_secret = args.show_secret || to_stdout;
    if json {
        let mut fields = json!({ "id52": id, "stored_in": stored_in });
        if show_secret {
            fields["secret_key"] = json!(*key.to_hex());
        }
        output::object("generated", fields)?;
    } else {
        if to_stdout {
            output::talk(id);
        } else {
            output::line(id)?;
        }
        if show_secret {
            output::line(&*key.to_hex())?;
        }
    }
    if let Some(place) = stored_in {
        output::talk(format_args!("The secret key is in {place}. Whoever has it is {id}."));
    }
    Ok(())
}

#[cfg(feature = "keyring")]
fn store_in_keyring(key: &SecretKey) -> eyre::Result<()> {
    Ok(super::source::open_keyring()?.store(key)?)
}

#[cfg(not(feature = "keyring"))]
fn store_in_keyring(_: &SecretKey) -> eyre::Result<()> {
    Err(eyre::eyre!(super::source::NO_KEYRING))
}
