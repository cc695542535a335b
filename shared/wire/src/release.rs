//! What releases a key before its window ends.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::status::RunStatus;

/// Which ends of its run free a key. A key belongs to the run that holds it, and so does this: a later trigger's word for it
/// counts once it holds the key itself.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum KeyRelease {
    /// A failure: the work is to be done once, and has not been. The default.
    #[default]
    OnFailure,
    /// Any end: one run at a time.
    OnEnd,
    /// None: one run in the window, whatever becomes of it.
    Never,
}

impl KeyRelease {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::OnFailure, Self::OnEnd, Self::Never];

    /// Whether a run that holds the key and has this status gives it up.
    #[must_use]
    pub fn frees(self, status: RunStatus) -> bool {
        match self {
            Self::OnFailure => status.is_failure(),
            Self::OnEnd => status.is_final(),
            Self::Never => false,
        }
    }

    /// The wire's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OnFailure => "on-failure",
            Self::OnEnd => "on-end",
            Self::Never => "never",
        }
    }

    /// Whether it is what it is unless something else is said.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The name on the wire.
impl fmt::Display for KeyRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KeyRelease {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|release| release.as_str() == text);
        known.ok_or_else(|| format!("{text:?} releases no key: give on-failure, on-end or never"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r30_r32_r33_r70_r71_each_release_frees_its_ends_and_no_other() {
        let kept = |release: KeyRelease| -> Vec<_> {
            RunStatus::ALL.into_iter().filter(|s| s.is_final() && !release.frees(*s)).collect()
        };
        assert_eq!(kept(KeyRelease::OnFailure), [RunStatus::Completed, RunStatus::Canceled]);
        assert_eq!(kept(KeyRelease::OnEnd), []);
        assert_eq!(kept(KeyRelease::Never).len(), 7);
        let going_on = RunStatus::ALL.into_iter().filter(|status| !status.is_final());
        assert_eq!(going_on.filter(|status| KeyRelease::ALL.iter().any(|release| release.frees(*status))).count(), 0);
    }

    #[test]
    fn the_wire_name_is_the_name() {
        for release in KeyRelease::ALL {
            assert_eq!(serde_json::to_value(release).expect("json"), release.as_str());
            assert_eq!(release.as_str().parse(), Ok(release));
        }
    }
}
