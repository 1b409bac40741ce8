//! A relay, as a program names it.

use std::fmt;

use iroh::RelayUrl;

use crate::error::BindError;

/// A relay for [`Builder::relay`](crate::Builder::relay): its URL, and a token if it lets in only those who have one.
///
/// A text is a relay without a token.
///
/// ```
/// use twolane::{Endpoint, Relay};
///
/// let builder = Endpoint::builder()
///     .relay("https://relay-1.example.org")
///     .relay(Relay::new("https://relay-2.example.org").token("a secret"));
/// # let _ = builder;
/// ```
#[derive(Clone, PartialEq, Eq)]
#[must_use]
pub struct Relay {
    url: String,
    token: Option<String>,
}

impl Relay {
    /// Names a relay by its URL, such as `https://relay.example.org`. The scheme is `https`, or `http` for a relay
    /// without TLS. [`Builder::bind`](crate::Builder::bind) says if the URL cannot be used.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), token: None }
    }

    /// Sets the token that the relay asks for (`Authorization: Bearer`). It has visible ASCII characters without
    /// spaces. A relay over plain `http` gets it unencrypted. The token is sent to this relay alone, and not shown by
    /// `Debug`.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Returns the relay, if it can be used.
    pub(super) fn checked(&self) -> Result<Checked, BindError> {
        let wrong = || BindError::RelayUrl(self.url.clone());
        let url: RelayUrl = self.url.parse().map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return Err(wrong());
        }
        // What an HTTP header can hold (RFC 6750, section 2.1, allows less).
        let usable = |token: &String| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        if !self.token.as_ref().is_none_or(usable) {
            return Err(BindError::RelayToken { url: self.url.clone() });
        }
        Ok(Checked { url, token: self.token.clone() })
    }
}

/// A relay whose URL and token can be used.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Checked {
    pub(super) url: RelayUrl,
    pub(super) token: Option<String>,
}

impl Checked {
    /// Returns whether the relay can tell an endpoint its public address. A relay over plain HTTP has no certificate,
    /// and therefore no QUIC address discovery. (A probe for it would delay the choice of a relay by 3 s.)
    pub(super) fn discovers(&self) -> bool {
        self.url.scheme() == "https"
    }
}

/// Shows whether there is a token, and not the token.
fn shown(f: &mut fmt::Formatter<'_>, url: &str, token: Option<&String>) -> fmt::Result {
    f.debug_struct("Relay").field("url", &url).field("token", &token.map(|_| "..")).finish()
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(f, &self.url, self.token.as_ref())
    }
}

impl fmt::Debug for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(f, self.url.as_str(), self.token.as_ref())
    }
}

impl From<&str> for Relay {
    fn from(url: &str) -> Self {
        Self::new(url)
    }
}

impl From<&String> for Relay {
    fn from(url: &String) -> Self {
        Self::new(url)
    }
}

impl From<String> for Relay {
    fn from(url: String) -> Self {
        Self::new(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_is_a_url_of_http_and_its_token_fits_into_a_header() {
        for url in ["https://relay.example", "http://127.0.0.1:80", "https://relay.example.:7843/"] {
            assert!(Relay::new(url).checked().is_ok(), "{url}");
        }
        for url in ["", "relay.example", "relay.example:443", "ftp://relay.example", "ws://relay.example", "https://"] {
            assert!(matches!(Relay::new(url).checked(), Err(BindError::RelayUrl(named)) if named == url), "{url}");
        }
        let with = |token: &str| Relay::new("https://relay.example").token(token).checked();
        assert_eq!(with("abc.DEF-123=").unwrap().token.as_deref(), Some("abc.DEF-123="));
        for token in ["", "two words", "line\n", "caf\u{e9}"] {
            assert!(matches!(with(token), Err(BindError::RelayToken { .. })), "{token:?}");
        }
    }

    #[test]
    fn a_token_is_never_shown() {
        let relay = Relay::new("https://relay.example").token("opensesame");
        let shown = format!("{relay:?} {:?}", relay.checked().unwrap());
        assert!(shown.contains("relay.example") && !shown.contains("opensesame"), "{shown}");
        let error = Relay::new("https://relay.example").token("open sesame").checked().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("sesame"));
    }
}
