//! The command line and its help.

use std::path::PathBuf;

use clap::{ArgGroup, Parser, Subcommand};

/// Make, show and use Ed25519 identities.
///
/// An id52 is a public key in 52 characters: the name of the holder of the secret key.
#[derive(Debug, Parser)]
#[command(name = "id52", version, max_term_width = 100)]
#[command(after_help = EXIT_CODES, after_long_help = LONG_HELP)]
pub(super) struct Args {
    /// Print one JSON object instead of text, for errors too
    #[arg(long, global = true)]
    pub(super) json: bool,

    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a new secret key, store it, and print its id52
    #[command(after_help = GENERATE_EXAMPLES)]
    Generate(Generate),
    /// Check an id52 and print it in lower case, or print the id52 of a secret key
    #[command(after_help = SHOW_EXAMPLES)]
    Show(Show),
    /// Sign a message for a purpose with a secret key, and print the signature
    #[command(after_help = SIGN_EXAMPLES)]
    Sign(Sign),
    /// Check that a signature was made by an id52 over exactly this message, for this purpose
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(Verify),
    /// State with a secret key that another key, a node, acts for it, and print the certificate
    #[command(after_help = DELEGATE_EXAMPLES)]
    Delegate(Delegate),
    /// Check a delegation, print what it says, and whether it would be accepted
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect(Inspect),
}

#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(group = exactly_one("destination", &["key_file", "keyring"]))]
pub(super) struct Generate {
    /// Store the key in this new file, mode 0600; `-` prints the secret key to standard output
    #[arg(long, short = 'f', value_name = "FILE")]
    pub(super) key_file: Option<PathBuf>,

    /// Store the key in the operating system's keyring
    #[arg(long, short = 'k')]
    pub(super) keyring: bool,

    /// Also print the secret key, to standard output
    #[arg(long)]
    pub(super) show_secret: bool,
}

#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(group = exactly_one("subject", &["id52", "key_file", "env", "keyring"]))]
pub(super) struct Show {
    /// The id52 to check; `-` reads it from standard input
    #[arg(value_name = "ID52")]
    pub(super) id52: Option<String>,

    #[command(flatten)]
    pub(super) key: Source,

    /// Also print the secret key, to standard output
    #[arg(long, conflicts_with = "id52")]
    pub(super) show_secret: bool,
}

#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(group = exactly_one("signer", &["key_file", "env", "keyring"]))]
pub(super) struct Sign {
    #[command(flatten)]
    pub(super) key: Source,

    #[command(flatten)]
    pub(super) purpose: Purpose,

    /// The message, at most 64 MiB; `-` is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    pub(super) message: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// The id52 of the supposed signer
    #[arg(value_name = "ID52")]
    pub(super) id52: String,

    /// The signature, 128 hexadecimal digits
    #[arg(value_name = "SIGNATURE")]
    pub(super) signature: String,

    #[command(flatten)]
    pub(super) purpose: Purpose,

    /// The message, at most 64 MiB; `-` is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    pub(super) message: PathBuf,
}

#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(group = exactly_one("owner", &["key_file", "env", "keyring"]))]
#[command(group = exactly_one("end", &["duration", "expires"]))]
pub(super) struct Delegate {
    /// The id52 of the node, which is to act for the owner of the secret key
    #[arg(value_name = "NODE")]
    pub(super) node: String,

    #[command(flatten)]
    pub(super) key: Source,

    /// A protocol: `chat/1`; a family: `chat/*`; all protocols: `*`. Up to 16 times
    #[arg(long, short = 's', required = true, value_name = "PATTERN")]
    pub(super) scope: Vec<String>,

    /// A peer towards which the delegation is valid, up to 16 times. Default: all peers
    #[arg(long, short = 'a', value_name = "ID52")]
    pub(super) audience: Vec<String>,

    /// Start of the validity, in UTC: 2030-05-01T00:00:00Z. Default: now
    #[arg(long, value_name = "TIME")]
    pub(super) not_before: Option<String>,

    /// Duration of the validity: 30d, 12h, 1h30m
    #[arg(long = "for", value_name = "DURATION")]
    pub(super) duration: Option<String>,

    /// End of the validity, in UTC: 2031-05-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(super) expires: Option<String>,

    /// Serial for a revocation, 32 hexadecimal digits. Default: a random serial
    #[arg(long, value_name = "HEX")]
    pub(super) serial: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Inspect {
    /// The delegation; `-` reads it from standard input
    #[arg(value_name = "DELEGATION")]
    pub(super) delegation: String,

    /// Would it be accepted from this node?
    #[arg(long, value_name = "ID52")]
    pub(super) node: Option<String>,

    /// Would this peer accept it?
    #[arg(long, value_name = "ID52")]
    pub(super) audience: Option<String>,

    /// Would it be accepted for this protocol?
    #[arg(long, value_name = "NAME")]
    pub(super) protocol: Option<String>,
}

/// Where an existing secret key is.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Source {
    /// Read the secret key from this file, which nobody else may read; `-` is standard input
    #[arg(long, short = 'f', value_name = "FILE")]
    pub(super) key_file: Option<PathBuf>,

    /// Read the secret key from this environment variable
    #[arg(long, short = 'e', value_name = "NAME")]
    pub(super) env: Option<String>,

    /// Read the secret key of this id52 from the operating system's keyring
    #[arg(long, short = 'k', value_name = "ID52")]
    pub(super) keyring: Option<String>,

    /// The key file is a secret that a container platform has mounted: it may be a symbolic link, and its group and
    /// everybody may read it, but not write it
    #[arg(long, requires = "key_file")]
    pub(super) container_secret: bool,
}

/// What a signature is for.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Purpose {
    /// The purpose of the signature, such as `example.org login`. Signer and verifier name the same
    #[arg(long, short = 'c', value_name = "TEXT", default_value = "file")]
    context: String,

    /// Sign or verify exactly the bytes of the message, without a purpose: for formats that prescribe the signed
    /// bytes, and never for bytes that somebody else has chosen
    #[arg(long, conflicts_with = "context")]
    raw: bool,
}

impl Purpose {
    /// Returns the context, or `None` for a raw signature.
    pub(super) fn context(&self) -> Option<&str> {
        Some(self.context.as_str()).filter(|_| !self.raw)
    }
}

fn exactly_one(name: &'static str, of: &'static [&'static str]) -> ArgGroup {
    ArgGroup::new(name).args(of).required(true).multiple(false)
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  it failed, and standard error says why
  2  the command line makes no sense
  4  the delegation is genuine, but would not be accepted: expired, for another node, ...
  5  the signature does not verify";

const LONG_HELP: &str = "\
Examples:
  id52 generate --key-file me.key
  id52 show --key-file me.key
  id52 sign --key-file me.key letter.txt > letter.sig
  id52 verify ha4e7nbk17opbvaircmjpeiteb56e2dv3ma146vjei403d0fdte0 \"$(cat letter.sig)\" letter.txt
  id52 delegate --key-file me.key \"$NODE\" --scope 'chat/*' --for 30d > node.delegation
  id52 inspect - < node.delegation

Results go to standard output, everything else to standard error. Secret keys are printed only for
--show-secret, and for `generate --key-file -`.

Exit codes:
  0  done
  1  it failed, and standard error says why
  2  the command line makes no sense
  4  the delegation is genuine, but would not be accepted: expired, for another node, ...
  5  the signature does not verify";

const GENERATE_EXAMPLES: &str = "\
Examples:
  id52 generate --key-file me.key           a new file, never an existing one
  id52 generate --keyring                   an entry in the operating system's keyring
  id52 generate --key-file - | vault store  the secret key to another program";

const SHOW_EXAMPLES: &str = "\
Examples:
  id52 show QTD9G0C2M45BFLABVR9SIP07787E2SNJRAJ269DF08D6HTO7A4D0
  id52 show --key-file me.key
  id52 show --env SERVICE_KEY --json";

const SIGN_EXAMPLES: &str = "\
Examples:
  id52 sign --key-file me.key letter.txt
  tar c src | id52 sign --key-file me.key
  id52 sign --env SERVICE_KEY --context 'example.org login' --json challenge.txt

A signature is valid for its purpose alone, which is `file` unless --context names another. It is none
of a TLS handshake, of an address record or of a delegation, whatever the message is. With --raw it
can be: whoever chooses the bytes can then act in the name of the key.

A longer message is signed by its hash:
  sha256sum film.mkv | id52 sign --key-file me.key";

const VERIFY_EXAMPLES: &str = "\
Examples:
  id52 verify \"$ID52\" \"$SIGNATURE\" letter.txt && echo genuine
  tar c src | id52 verify \"$ID52\" \"$SIGNATURE\"
  id52 verify \"$ID52\" \"$SIGNATURE\" --context 'example.org login' challenge.txt

Exit code 0 means that the signature is genuine, 5 that it is not.";

const DELEGATE_EXAMPLES: &str = "\
Examples:
  id52 delegate --key-file me.key \"$NODE\" --scope 'chat/*' --for 30d
  id52 delegate --key-file me.key \"$NODE\" -s mail/1 -s backup/1 --audience \"$SERVER\" --for 12h
  id52 delegate --env OWNER_KEY \"$NODE\" --scope '*' --expires 2031-05-01T00:00:00Z --json

A delegation is no secret: only the node that it names can use it. Keep its serial: it is revoked
by that.";

const INSPECT_EXAMPLES: &str = "\
Examples:
  id52 inspect \"$DELEGATION\"
  id52 inspect \"$DELEGATION\" --node \"$NODE\" --protocol chat/1 && echo accepted
  id52 inspect - --json < node.delegation

Exit code 0 means that it is signed by its owner, holds now by this machine's clock, without any
allowance for skewed ones, and would be accepted for whatever the options name; 4 that it is signed
and would not; 5 that it is not signed by the owner that it names. Revocations are not looked at.";
