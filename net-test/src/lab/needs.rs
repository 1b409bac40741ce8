//! What the lab needs of the machine, and how it gets namespaces of its own.
//!
//! The lab starts itself anew in a network and mount namespace of its own, and in a user namespace if it is not root. Its
//! `/run`, where `ip netns` keeps names, is its own then: nothing of the machine is touched, two labs do not see each other,
//! and whatever way the lab ends, the kernel takes everything away with the last process.

use std::{
    env,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use nix::unistd::Uid;

use super::{
    fault::Fault,
    nat::Nat,
    world::{Family, World},
};

/// Says that this process is inside already.
const INSIDE: &str = "TWOLANE_LAB_INSIDE";
/// Where Debian has `ip` and `nft`, which the path of an ordinary user leaves out.
const SBIN: &str = "/usr/local/sbin:/usr/sbin:/sbin";
/// A `/run` of one's own, then the lab.
const SCRIPT: &str = "mount -t tmpfs tmpfs /run && exec \"$0\" \"$@\"";

/// Whether this process has namespaces of its own.
pub(super) fn are_met_inside() -> bool {
    env::var_os(INSIDE).is_some()
}

/// Becomes the same program in namespaces of its own. It returns only if that is impossible here, with the reason.
pub(super) fn enter() -> String {
    for (tool, package) in
        [("ip", "iproute2"), ("nft", "nftables"), ("nsenter", "util-linux"), ("unshare", "util-linux")]
    {
        if !has(tool) {
            return format!("the program {tool} is missing: apt-get install {package}");
        }
    }
    let tried = command().arg("true").stdin(Stdio::null()).output();
    match tried {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let who = if Uid::effective().is_root() { "root" } else { "this user" };
            return format!("{who} can have no namespaces here: {}", said.trim().replace('\n', "; "));
        }
        Err(error) => return format!("unshare cannot be run: {error}"),
    }
    let program = match env::current_exe() {
        Ok(program) => program,
        Err(error) => return format!("this program cannot be found: {error}"),
    };
    let error = command().arg(program).args(env::args_os().skip(1)).env(INSIDE, "1").exec();
    format!("the lab cannot be started: {error}")
}

/// Makes a small world, to see whether the kernel can.
pub(super) async fn probe() -> Result<(), String> {
    let made = async {
        let mut world = World::new(Family::Dual).await?;
        world.router(Nat::Symmetric, Family::Dual).await?;
        world.end().await
    };
    made.await.map_err(|fault: Fault| format!("this kernel has not all that the lab needs: {fault}"))
}

fn command() -> Command {
    let mut command = Command::new("unshare");
    if !Uid::effective().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "--mount", "sh", "-c", SCRIPT]).env("PATH", path());
    command
}

fn has(tool: &str) -> bool {
    // All of them take it; `unshare` and `nsenter` have it as well.
    let option = if tool == "ip" { "-V" } else { "--version" };
    let run = Command::new(tool).arg(option).env("PATH", path()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}

fn path() -> String {
    format!("{}:{SBIN}", env::var("PATH").unwrap_or_default())
}
