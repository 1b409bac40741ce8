//! The HTTP proxy for relays and directories: what a program names, or what the environment says. Pure.

use std::fmt;

use iroh::RelayUrl;

use crate::error::BindError;

/// Where the proxy comes from.
#[derive(Clone, Default)]
pub(super) enum ProxyFrom {
    #[default]
    Nowhere,
    /// The program has named this URL.
    Program(String),
    Environment,
}

/// The URL may have a password in it.
impl fmt::Debug for ProxyFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nowhere => "Nowhere",
            Self::Program(_) => "Program(..)",
            Self::Environment => "Environment",
        })
    }
}

impl ProxyFrom {
    /// Returns the proxy for the connections to `servers`: the relays and the directory. `env` returns the value of an
    /// environment variable.
    pub(super) fn find(
        &self,
        servers: &[RelayUrl],
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<RelayUrl>, BindError> {
        match self {
            Self::Nowhere => Ok(None),
            Self::Program(url) => usable(url, "Builder::proxy").map(Some),
            Self::Environment => from_environment(servers, env),
        }
    }
}

/// Variables for servers with TLS and without it, in the order in which they count, as curl has them.
const FOR_HTTPS: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
const FOR_HTTP: [&str; 4] = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];

fn from_environment(servers: &[RelayUrl], env: &dyn Fn(&str) -> Option<String>) -> Result<Option<RelayUrl>, BindError> {
    let env = |name: &str| env(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    // iroh has one proxy for all servers.
    let https = servers.iter().any(|server| server.scheme() == "https");
    // In a CGI program, HTTP_PROXY is what a client has sent as the header `Proxy` (https://httpoxy.org).
    let trusted = |name: &&&str| **name != "HTTP_PROXY" || env("REQUEST_METHOD").is_none();
    let names = if https { &FOR_HTTPS } else { &FOR_HTTP };
    let Some((name, url)) = names.iter().filter(trusted).find_map(|name| Some((*name, env(*name)?))) else {
        return Ok(None);
    };
    let without = env("no_proxy").or_else(|| env("NO_PROXY")).unwrap_or_default();
    let mut hosts = servers.iter().map(|server| server.host_str().unwrap_or_default());
    if !servers.is_empty() && hosts.all(|host| is_left_out(&without, host)) {
        return Ok(None);
    }
    usable(&url, name).map(Some)
}

/// Returns whether a list such as `localhost,.example.org,192.0.2.1` has the host.
fn is_left_out(list: &str, host: &str) -> bool {
    let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
    list.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        let entry = entry.trim_matches(['[', ']']).trim_start_matches('.').trim_end_matches('.').to_ascii_lowercase();
        let below = || host.strip_suffix(entry.as_str()).is_some_and(|rest| rest.ends_with('.'));
        entry == "*" || host == entry || below()
    })
}

/// Returns the URL of a proxy that iroh can use. A URL without a scheme is one of `http`, as curl has it. `from` is
/// where it comes from: the URL itself may have a password in it.
fn usable(url: &str, from: &'static str) -> Result<RelayUrl, BindError> {
    let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let url: RelayUrl = url.parse().map_err(|_| BindError::Proxy { from })?;
    let good = matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|host| !host.is_empty());
    if good { Ok(url) } else { Err(BindError::Proxy { from }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(urls: &[&str]) -> Vec<RelayUrl> {
        urls.iter().map(|url| url.parse().unwrap()).collect()
    }

    /// Returns the proxy in this environment, or where the one that cannot be used is named.
    fn found(servers: &[RelayUrl], vars: &[(&str, &str)]) -> Result<Option<String>, &'static str> {
        let env = |name: &str| vars.iter().find(|(var, _)| *var == name).map(|(_, value)| (*value).to_owned());
        match ProxyFrom::Environment.find(servers, &env) {
            Ok(found) => Ok(found.map(|url| url.to_string())),
            Err(BindError::Proxy { from }) => Err(from),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn the_proxy_of_the_environment_is_the_one_that_curl_would_take() {
        let (https, http) = (servers(&["https://relay.example"]), servers(&["http://relay.example"]));
        let proxy = |name: &str| Ok(Some(format!("http://{name}:1/")));
        let both = [("HTTPS_PROXY", "http://a:1"), ("HTTP_PROXY", "http://b:1")];
        let table: [(&[RelayUrl], &[(&str, &str)], _); 14] = [
            (&https, &[], Ok(None)),
            (&https, &both, proxy("a")),
            (&http, &both, proxy("b")),
            (&https, &[("HTTP_PROXY", "http://b:1")], Ok(None)),
            (&https, &[("https_proxy", "c:1"), ("HTTPS_PROXY", "http://a:1")], proxy("c")),
            (&https, &[("HTTPS_PROXY", ""), ("ALL_PROXY", "http://d:1")], proxy("d")),
            (&http, &[("HTTP_PROXY", "http://b:1"), ("REQUEST_METHOD", "GET")], Ok(None)),
            (&http, &[("http_proxy", "http://b:1"), ("REQUEST_METHOD", "GET")], proxy("b")),
            (&https, &[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", "other, .example")], Ok(None)),
            (&https, &[("HTTPS_PROXY", "http://a:1"), ("no_proxy", "elay.example")], proxy("a")),
            (&https, &[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", "*")], Ok(None)),
            (&https, &[("HTTPS_PROXY", "socks5://a:1")], Err("HTTPS_PROXY")),
            (&https, &[("HTTPS_PROXY", "http://")], Err("HTTPS_PROXY")),
            (&[], &[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", "*")], Ok(None)),
        ];
        for (servers, vars, expected) in table {
            assert_eq!(found(servers, vars), expected, "{servers:?} {vars:?}");
        }
    }

    #[test]
    fn a_proxy_is_left_out_only_if_it_is_for_none_of_the_servers() {
        let two = servers(&["https://a.example.", "https://[2001:db8::1]:443"]);
        let with = |without| found(&two, &[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", without)]);
        assert_eq!(with("a.example"), Ok(Some("http://p:1/".to_owned())));
        assert_eq!(with("A.EXAMPLE,2001:db8::1"), Ok(None));
    }

    #[test]
    fn a_password_in_the_url_is_used_and_never_shown() {
        let named = ProxyFrom::Program("http://me:opensesame@proxy.example:3128".to_owned());
        let found = named.find(&[], &|_| None).unwrap().unwrap();
        assert_eq!((found.username(), found.password()), ("me", Some("opensesame")));
        assert!(!format!("{named:?}").contains("sesame"));
        let error = ProxyFrom::Program("me:opensesame@".to_owned()).find(&[], &|_| None).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("sesame"), "{error}");
    }
}
