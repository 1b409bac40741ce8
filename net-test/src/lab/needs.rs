//! The requirements of the lab, and its namespaces.
//!
//! The lab starts itself again in its own network and mount namespaces, and in its own user namespace if it is not
//! root. There it has its own `/run`, for the names of `ip netns` and for its files. The lab therefore changes
//! nothing on the machine, and two labs do not see each other. The kernel removes everything with the last process,
//! however the lab ends.

use std::{
    env, fs,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use nix::unistd::Uid;

use super::{
    fault::Fault,
    link,
    nat::Nat,
    world::{Family, World},
};

/// The name of the lab's mount on `/run`. It proves that the lab runs in its namespaces, which an environment
/// variable could not.
const OWN: &str = "twolane-lab";
/// Mounts a new `/run`, and then starts the lab.
///
/// The new `/run` has links to the entries of the old one, which are tools on some systems, and files of the user.
/// The script reaches the old `/run` through an open file descriptor.
const SCRIPT: &str = r#"exec 3</run &&
mount -t tmpfs -o size=90% twolane-lab /run && mkdir /run/netns /run/outside && mount --rbind /proc/self/fd/3 /run/outside &&
for name in /run/outside/*; do [ -e "/run/${name##*/}" ] || ln -s "$name" /run/ || exit; done &&
exec 3<&- && exec "$0" "$@""#;

pub fn are_met_inside() -> bool {
    fs::read_to_string("/proc/self/mounts").is_ok_and(|mounts| has_own(&mounts))
}

fn has_own(mounts: &str) -> bool {
    mounts.lines().any(|line| line.starts_with(&format!("{OWN} /run tmpfs ")))
}

/// Replaces this process by the same program in its own namespaces. Returns only if that is impossible, with the
/// reason.
pub fn enter() -> String {
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
    let error = command().arg(program).args(env::args_os().skip(1)).exec();
    format!("the lab cannot be started: {error}")
}

/// Tests the kernel by making a small world. Its router is at the end of a userspace link.
pub async fn probe() -> Result<(), String> {
    link::available()?;
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
    let option = if tool == "ip" { "-V" } else { "--version" };
    let run = Command::new(tool).arg(option).env("PATH", path()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}

/// Returns the path with the directories of `ip` and `nft`. The path of an ordinary user lacks them on Debian.
fn path() -> String {
    with_sbin(&env::var("PATH").unwrap_or_default())
}

fn with_sbin(path: &str) -> String {
    let sbin = path.split(':').filter_map(|dir| dir.strip_suffix("/bin")).map(|dir| format!(":{dir}/sbin"));
    path.to_owned() + &sbin.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_run_of_the_lab_s_own_is_inside() {
        assert!(has_own("proc /proc proc rw 0 0\ntwolane-lab /run tmpfs rw,relatime 0 0\n"));
        assert!(!has_own("tmpfs /run tmpfs rw 0 0\ntwolane-lab /mnt tmpfs rw 0 0\n"));
        assert!(!are_met_inside(), "tests are not played inside");
    }

    #[test]
    fn programs_of_the_system_are_looked_for_beside_those_of_the_path_alone() {
        assert_eq!(with_sbin("/usr/bin:/bin:/opt/x"), "/usr/bin:/bin:/opt/x:/usr/sbin:/sbin");
        assert_eq!(with_sbin("/nothing/here"), "/nothing/here");
    }
}
