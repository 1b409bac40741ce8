//! The conditions of a run: the machine, the versions and the settings. They are the first line of the output.

use std::{collections::BTreeMap, fs, process::Command, thread, time::SystemTime};

use serde::{Deserialize, Serialize};

use crate::{
    busy::Watch,
    output::Output,
    report::{self, print},
};

/// The text of the workspace's lock file. A program of another workspace uses the lock file of that workspace.
pub const LOCK: &str = include_str!("../../Cargo.lock");

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    pub program: String,
    /// The time of the start, in UTC.
    pub date: String,
    /// The commit of the checkout that the program was built in.
    pub commit: Option<String>,
    /// Whether files other than figures and documents had changed since the commit.
    pub dirty: Option<bool>,
    pub processor: Option<String>,
    pub cores: usize,
    /// The operating system and its version.
    pub system: String,
    pub rustc: String,
    /// The build profile: `release`, or a slower one.
    pub profile: String,
    pub versions: BTreeMap<String, String>,
    /// The settings of each side, by the name of the side.
    pub settings: BTreeMap<String, String>,
    /// Whether the load of other processes on this machine is known. If it is, a row that other processes disturbed
    /// is void.
    pub watched: bool,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    Conditions(&'a Conditions),
}

impl Conditions {
    /// Collects the conditions. `lock` is the text of a lock file. The versions of `packages`, of twolane and of
    /// the transport come from it.
    pub fn now(program: &str, lock: &str, packages: &[&str], settings: BTreeMap<String, String>) -> Self {
        let first = |file: &str| fs::read_to_string(file).ok();
        let git = |arguments: &[&str]| {
            let mut git = Command::new("git");
            // Root may measure a checkout that belongs to another user.
            git.args(["-c", "safe.directory=*", "-C", env!("CARGO_MANIFEST_DIR")]).args(arguments);
            let output = git.output().ok().filter(|output| output.status.success())?;
            String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
        };
        const CODE: &[&str] = &[
            "status",
            "--porcelain",
            "--",
            ":/",
            ":(top,exclude)*.md",
            ":(top,exclude)net-test/figures",
            ":(top,exclude)*.svg",
        ];
        let kernel = first("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            program: program.to_owned(),
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            commit: git(&["rev-parse", "HEAD"]),
            dirty: git(CODE).map(|changed| !changed.is_empty()),
            processor: first("/proc/cpuinfo").as_deref().and_then(model),
            cores: thread::available_parallelism().map_or(1, usize::from),
            system: format!("{} {}", std::env::consts::OS, kernel.trim()).trim().to_owned(),
            rustc: env!("TWOLANE_RUSTC").to_owned(),
            profile: env!("TWOLANE_PROFILE").to_owned(),
            versions: versions(lock, &[&["twolane", "iroh", "noq", "noq-proto"], packages].concat()),
            settings,
            watched: Watch::start().is_some(),
        }
    }

    /// Collects the conditions for a program of this workspace.
    pub fn of(program: &str, settings: BTreeMap<String, String>) -> Self {
        Self::now(program, LOCK, &[], settings)
    }

    pub fn tell(&self, output: Output) {
        output.say(format_args!("{}", self.words()));
        for (side, settings) in &self.settings {
            output.say(format_args!("{side}: {settings}"));
        }
        if output.is_json() {
            print(&self.line());
        }
    }

    pub fn line(&self) -> String {
        report::line(Event::Conditions(self))
    }

    pub fn words(&self) -> String {
        let versions: Vec<_> = self.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        let commit = self.commit.as_deref().map_or("no commit", |commit| commit.get(..10).unwrap_or(commit));
        let changed = if self.dirty == Some(false) { "" } else { " with changes" };
        let rustc = self.rustc.split(" (").next().unwrap_or_default();
        format!(
            "Measured {} on {}, {} cores, {}; commit {commit}{changed}: {}, {rustc}, {} build. {}.",
            self.date,
            self.processor.as_deref().unwrap_or("a processor without a name"),
            self.cores,
            self.system,
            versions.join(", "),
            self.profile,
            if self.watched {
                "A row that others disturbed is void"
            } else {
                "Whether others disturbed it is not known"
            },
        )
    }
}

/// Returns the model of the first processor in /proc/cpuinfo.
fn model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Returns the versions of packages in a lock file. A package that is listed twice gets both versions.
fn versions(lock: &str, packages: &[&str]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::<_, String>::new();
    let value = |line: &str, key: &str| Some(line.strip_prefix(key)?.strip_suffix('"')?.to_owned());
    let mut name = String::new();
    for line in lock.lines() {
        if let Some(package) = value(line, "name = \"") {
            name = package;
        } else if let Some(version) = value(line, "version = \"")
            && packages.contains(&name.as_str())
        {
            let versions = found.entry(name.clone()).or_default();
            *versions = if versions.is_empty() { version } else { format!("{versions} and {version}") };
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::SCHEMA;

    #[test]
    fn versions_are_those_of_the_lock_file() {
        let lock = "[[package]]\nname = \"iroh\"\nversion = \"1.2.3\"\n\n[[package]]\nname = \"noq\"\nversion = \"2.0.0\"\n\n\
            [[package]]\nname = \"noq\"\nversion = \"3.0.0\"\n\n[[package]]\nname = \"other\"\nversion = \"9.0.0\"\n";
        let found = versions(lock, &["iroh", "noq", "absent"]);
        assert_eq!(
            found.into_iter().map(|(name, version)| name + " " + &version).collect::<Vec<_>>(),
            ["iroh 1.2.3", "noq 2.0.0 and 3.0.0"]
        );
        for package in ["twolane", "iroh", "noq", "noq-proto"] {
            assert!(versions(LOCK, &[package]).contains_key(package), "{package}");
        }
    }

    #[test]
    fn a_line_can_be_read_back_and_names_the_commit_and_the_compiler() {
        let conditions = Conditions::of("speed", BTreeMap::from([("raw iroh".into(), "its defaults".into())]));
        let line: serde_json::Value = serde_json::from_str(&conditions.line()).unwrap();
        assert_eq!((line["event"].as_str(), line["schema"].as_u64()), (Some("conditions"), Some(SCHEMA.into())));
        assert_eq!(serde_json::from_value::<Conditions>(line).unwrap(), conditions);
        assert!(conditions.rustc.starts_with("rustc 1."), "{conditions:?}");
        assert!(conditions.words().contains("iroh 1."), "{}", conditions.words());
    }

    #[test]
    fn the_model_is_the_first_processors() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC\nprocessor\t: 1\nmodel name\t: Another\n";
        assert_eq!(model(text).as_deref(), Some("AMD EPYC"));
        assert_eq!(model("processor : 0\n"), None);
    }
}
