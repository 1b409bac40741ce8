//! The choice of an endpoint's congestion control.

use std::{fmt, str::FromStr, sync::Arc};

use iroh::endpoint::ControllerFactory;
use noq_proto::congestion::{Bbr3Config, CubicConfig};

use super::{background::BackgroundConfig, by_distance::ByDistanceConfig};

/// The congestion control for the data that an endpoint's connections send, given to
/// [`Builder::congestion`](crate::Builder::congestion).
///
/// Each choice has a name, for settings and command lines:
///
/// ```
/// use twolane::Congestion;
///
/// let congestion: Congestion = "cubic".parse()?;
/// assert_eq!(congestion.to_string(), "cubic");
/// # Ok::<(), twolane::ParseCongestionError>(())
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Congestion {
    /// `adaptive`, the default: over a distance BBR3 (draft-ietf-ccwg-bbr) with the corrections that
    /// [`CONGESTION.md`](https://github.com/twolane/twolane/blob/main/net/CONGESTION.md) lists, and Cubic to peers that
    /// are less than a millisecond away.
    #[default]
    Adaptive,
    /// `cubic`: Cubic (RFC 9438) as noq has it, which is iroh's default. Slow where packets get lost by chance.
    Cubic,
    /// `bbr3`: BBR3 as noq has it, which its authors call experimental.
    Bbr3,
    /// `background`: LEDBAT++ (draft-irtf-iccrg-ledbat-plus-plus-01), which yields to all other flows. It is for
    /// transfers that nobody waits for, and that must not spoil a call.
    Background,
    /// `custom`: a factory of the caller. It has no name that could be parsed.
    Custom(Arc<dyn ControllerFactory + Send + Sync>),
}

impl Congestion {
    /// Returns the factory of the controllers, one for each path.
    pub(crate) fn factory(&self) -> Arc<dyn ControllerFactory + Send + Sync> {
        match self {
            Self::Adaptive => Arc::new(ByDistanceConfig::default()),
            Self::Cubic => Arc::new(CubicConfig::default()),
            Self::Bbr3 => Arc::new(Bbr3Config::default()),
            Self::Background => Arc::new(BackgroundConfig),
            Self::Custom(factory) => Arc::clone(factory),
        }
    }
}

#[cfg(feature = "unstable-transport")]
impl Congestion {
    /// The names of the corrections that [`Congestion::unstable_without`] takes.
    #[doc(hidden)]
    pub const UNSTABLE_PARTS: &[&str] = &super::parts::Parts::NAMES;

    /// [`Congestion::Adaptive`] without one of its corrections, to measure what that correction is worth.
    #[doc(hidden)]
    pub fn unstable_without(part: &str) -> Option<Self> {
        let parts = super::parts::Parts::default().without(part)?;
        Some(Self::Custom(Arc::new(ByDistanceConfig { parts })))
    }
}

/// Shows the name, since a factory does not describe itself.
impl fmt::Debug for Congestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Congestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Adaptive => "adaptive",
            Self::Cubic => "cubic",
            Self::Bbr3 => "bbr3",
            Self::Background => "background",
            Self::Custom(_) => "custom",
        })
    }
}

/// The error for a name that no congestion control has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown congestion control {0:?}: choose adaptive, cubic, bbr3 or background")]
#[non_exhaustive]
pub struct ParseCongestionError(String);

impl FromStr for Congestion {
    type Err = ParseCongestionError;

    fn from_str(name: &str) -> Result<Self, ParseCongestionError> {
        match name {
            "adaptive" => Ok(Self::Adaptive),
            "cubic" => Ok(Self::Cubic),
            "bbr3" => Ok(Self::Bbr3),
            "background" => Ok(Self::Background),
            _ => Err(ParseCongestionError(name.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written_and_others_are_refused_with_those_there_are() {
        for congestion in [Congestion::Adaptive, Congestion::Cubic, Congestion::Bbr3, Congestion::Background] {
            let name = congestion.to_string();
            assert_eq!(name.parse::<Congestion>().unwrap().to_string(), name);
        }
        let error = "custom".parse::<Congestion>().unwrap_err().to_string();
        assert_eq!(error, "unknown congestion control \"custom\": choose adaptive, cubic, bbr3 or background");
    }
}
