//! Starts this program in a namespace, in one of its hidden parts.

use std::{env, fmt::Debug, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use tokio::{process::Command, time::timeout};

use super::{fault::Fault, netns::Netns};
use crate::child::{Broken, Child};

/// Maximum time to wait for the end of a part. It shuts down its endpoint, for which it has 3 s.
pub const END: Duration = Duration::from_secs(8);

/// Starts `part` of this program in a namespace, with `config` as an argument.
pub fn start<S>(netns: &Netns, name: &str, part: &str, config: &impl Serialize) -> Result<Child<S>, Fault>
where
    S: DeserializeOwned + Send + 'static,
{
    let config = serde_json::to_string(config).map_err(|error| Fault::lab(name, error))?;
    spawn(netns, name, &[part, &config])
}

pub fn spawn<S>(netns: &Netns, name: &str, args: &[&str]) -> Result<Child<S>, Fault>
where
    S: DeserializeOwned + Send + 'static,
{
    let program = env::current_exe().map_err(|error| Fault::lab(name, error))?;
    let mut command = Command::new("nsenter");
    command.arg(netns.enter_option()).arg(program).args(args);
    Ok(Child::start(name, &mut command)?)
}

/// Waits for the next line of a part, which has to be the `wanted` one.
pub async fn answer<S, T>(
    child: &mut Child<S>,
    what: &str,
    within: Duration,
    wanted: impl FnOnce(&S) -> Option<T>,
) -> Result<T, Fault>
where
    S: Debug + DeserializeOwned + Send + 'static,
{
    let late = |_| Fault::Late { what: what.to_owned(), after: within };
    let said = timeout(within, child.next()).await.map_err(late)??;
    wanted(&said).ok_or_else(|| Fault::Lab(format!("{} says {said:?}", child.name())))
}

impl From<Broken> for Fault {
    fn from(broken: Broken) -> Self {
        Self::Lab(broken.to_string())
    }
}
