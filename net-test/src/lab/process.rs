//! This program in a namespace, playing one of its hidden parts.

use std::{env, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use tokio::process::Command;

use super::{fault::Fault, netns::Netns};
use crate::child::{Broken, Child};

/// How long a part may take to end when it was told to: it shuts down its endpoint, which has 3 s for that.
const END: Duration = Duration::from_secs(8);

/// A process in a namespace. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Process<Said>(Child<Said>);

impl<Said: DeserializeOwned + Send + 'static> Process<Said> {
    /// Starts this program anew in a namespace, as `part`, with `config` in its arguments.
    pub(super) fn start(netns: &Netns, name: &str, part: &str, config: &impl Serialize) -> Result<Self, Fault> {
        let config = serde_json::to_string(config).map_err(|error| Fault::lab(name, error))?;
        Self::spawn(netns, name, &[part, &config])
    }

    /// Starts one of the programs for people in a namespace.
    pub(super) fn program(netns: &Netns, part: &str, args: &[&str]) -> Result<Self, Fault> {
        Self::spawn(netns, part, &[&[part], args].concat())
    }

    fn spawn(netns: &Netns, name: &str, args: &[&str]) -> Result<Self, Fault> {
        let program = env::current_exe().map_err(|error| Fault::lab(name, error))?;
        let mut command = Command::new("nsenter");
        command.arg(netns.enter_option()).arg(program).args(args);
        Ok(Self(Child::start(name, &mut command)?))
    }

    pub(super) fn name(&self) -> &str {
        self.0.name()
    }

    pub(super) async fn tell(&mut self, command: &impl Serialize) -> Result<(), Fault> {
        Ok(self.0.tell(command).await?)
    }

    /// What it says next. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Said, Fault> {
        Ok(self.0.next().await?)
    }

    /// What it has said by now and was not looked at.
    pub(super) fn said_already(&mut self) -> Option<Said> {
        self.0.said_already()
    }

    /// Kills it, as a machine does that is switched off.
    pub(super) async fn kill(self) -> Result<(), Fault> {
        Ok(self.0.kill().await?)
    }

    /// Tells it to end, and waits until it has.
    pub(super) async fn end(self) -> Result<(), Fault> {
        Ok(self.0.end(END).await?)
    }
}

impl From<Broken> for Fault {
    fn from(broken: Broken) -> Self {
        Self::Lab(broken.to_string())
    }
}
