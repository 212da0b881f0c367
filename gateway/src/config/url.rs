//! URLs of sources and destinations, taken apart without guessing.
//!
//! *Source*: RFC 3986 section 3. Narrower: userinfo only where a scheme has a use for it, no
//! fragment, hosts are IP addresses or ASCII host names (RFC 1123 section 2.1, and `_`, which is in
//! use).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::report::{did_you_mean, list, nearest, quote};

/// Schemes of other programs, and what they are called here. The nearest by letters may be one in the clear.
const ELSEWHERE: [(&str, &str); 9] = [
    ("tcp", "syslog+tcp"),
    ("udp", "syslog+udp"),
    ("tls", "syslog+tls"),
    ("ssl", "syslog+tls"),
    ("tcp+tls", "syslog+tls"),
    ("syslogs", "syslog+tls"),
    ("syslog+ssl", "syslog+tls"),
    ("syslog+relp", "relp"),
    ("unix", "syslog+unix"),
];

/// What is wrong with a URL. No message shows more of it than the part which is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Nothing before a colon.
    #[error("{url} has no scheme; supported: {}", list(.supported))]
    NoScheme {
        /// As written, shortened and quoted.
        url: String,
        /// The schemes that can be used here.
        supported: &'static [&'static str],
    },
    /// A scheme that does not exist.
    #[error("unknown scheme {scheme}{}supported: {}",
        did_you_mean(.nearest.as_deref()), list(.supported))]
    UnknownScheme {
        /// As written, shortened and quoted.
        scheme: String,
        /// What was probably meant.
        nearest: Option<&'static str>,
        /// The schemes that can be used here.
        supported: &'static [&'static str],
    },
    /// A scheme that is planned.
    #[error("scheme {scheme:?} is not supported yet by this build; supported: {}",
        list(.supported))]
    PlannedScheme {
        /// The scheme.
        scheme: &'static str,
        /// The schemes that can be used here.
        supported: &'static [&'static str],
    },
    /// Whitespace, a control character or one outside of ASCII.
    #[error("has the character {0:?}; allowed: printable ASCII, anything else as %XX")]
    Character(char),
    /// No `//host`.
    #[error("has no host; write {0}://host:port")]
    NoHost(&'static str),
    /// The host is neither an address nor a name.
    #[error("host {0} is no host; allowed: an IP address ([…] around IPv6) or a host name")]
    Host(String),
    /// The host of a source is a name.
    #[error("host {0} cannot be listened on; allowed: an IP address of this machine, or localhost")]
    HostToListen(String),
    /// The port is no port.
    #[error("port {port} is no port; allowed: {least} to 65535")]
    Port {
        /// As written, shortened and quoted.
        port: String,
        /// 0 for sources, where it asks for any free port; 1 for destinations.
        least: u16,
    },
    /// `user:password@` where it does nothing.
    #[error("has credentials before the host, which {0} has no use for; allowed: {0}://host:port")]
    Credentials(&'static str),
    /// A userinfo that is none, or one in which a character cuts the URL in two. Shows nothing.
    #[error(
        "has credentials that cannot be read; allowed: user:password@ before the host, no : in \
         the user, and %XX for any of / ? # @ and %"
    )]
    BadCredentials,
    /// A character which a request cannot have in its target.
    #[error("has the character {0:?} in its path or query; write it as %XX")]
    Target(char),
    /// A path where none can be.
    #[error("has a path, which {0} has no use for; allowed: {0}://host:port")]
    Path(&'static str),
    /// A file without a path, or one that is a folder.
    #[error("names no file; allowed: file:///folder/file or file:folder/file")]
    NoFile,
    /// A path at which no socket can be.
    #[error("names no socket; allowed: {0}:///folder/name, of at most 107 bytes")]
    Socket(&'static str),
    /// A file of another machine.
    #[error("has the host {0}; allowed: none (three slashes), as in file:///folder/file")]
    FileHost(String),
    /// `stdout:` with more behind it.
    #[error("has more than a query behind stdout:; allowed: stdout: or stdout:?format=json")]
    Stdout,
    /// `%` without two hexadecimal digits, or an escaped NUL or non-UTF-8.
    #[error("has a bad escape in its path; allowed: %XX of UTF-8, not %00")]
    Escape,
    /// `#`.
    #[error("has a fragment (#…); allowed: none, and # in a path as %23")]
    Fragment,
    /// An unknown key behind `?`.
    #[error("unknown query key {key}{}allowed for {scheme}: {}",
        did_you_mean(.nearest.as_deref()), if .allowed.is_empty() { "none".into() } else { list(.allowed) })]
    QueryKey {
        /// As written, shortened and quoted.
        key: String,
        /// The scheme.
        scheme: &'static str,
        /// What was probably meant.
        nearest: Option<&'static str>,
        /// All keys of the scheme.
        allowed: &'static [&'static str],
    },
    /// An unknown value behind `?`.
    #[error("query {key}={value} is unknown{}allowed: {}",
        did_you_mean(.nearest.as_deref()), list(.allowed))]
    QueryValue {
        /// The key.
        key: &'static str,
        /// As written, shortened.
        value: String,
        /// What was probably meant.
        nearest: Option<&'static str>,
        /// All values of the key.
        allowed: Vec<&'static str>,
    },
    /// A number behind `?` that is none, or outside of its range.
    #[error("query {key}={value} is out of range; allowed: {least} to {most}")]
    QueryNumber {
        /// The key.
        key: &'static str,
        /// As written, shortened and quoted.
        value: String,
        /// The smallest allowed.
        least: usize,
        /// The largest allowed.
        most: usize,
    },
    /// A key twice behind `?`.
    #[error("query key {0:?} is there twice; allowed: once")]
    QueryTwice(&'static str),
}

/// The schemes of one side.
pub(super) struct Schemes {
    /// Those that can be used.
    pub(super) supported: &'static [&'static str],
    /// Other names of some of them, which no message offers: the name, and what it stands for.
    pub(super) aliases: &'static [(&'static str, &'static str)],
    /// Those that will be.
    pub(super) planned: &'static [&'static str],
}

/// A URL taken apart; borrowed from its text.
pub(super) struct Parts<'a> {
    /// One of [`Schemes::supported`].
    pub(super) scheme: &'static str,
    /// What stands behind `//`, if that is there.
    pub(super) authority: Option<&'a str>,
    /// Up to `?`.
    pub(super) path: &'a str,
    query: &'a str,
    /// Whether an `@` stands behind the authority.
    has_late_at: bool,
}

/// What stands between `//` and the path.
pub(super) struct Authority<'a> {
    /// Before `@`, as it is written.
    pub(super) userinfo: Option<&'a str>,
    pub(super) host: Host,
    pub(super) port: Option<u16>,
}

/// The values of a query's own keys in their order, and all pairs with other keys.
type Pairs<'a, const N: usize> = ([Option<&'a str>; N], Vec<&'a str>);

/// A host by address or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// An IP address.
    Address(IpAddr),
    /// A name in lower case.
    Name(String),
}

impl<'a> Parts<'a> {
    /// Takes a URL apart whose scheme is among those given.
    pub(super) fn parse(url: &'a str, schemes: &Schemes) -> Result<Self, UrlError> {
        let Schemes { supported, aliases, .. } = *schemes;
        let no_scheme = || UrlError::NoScheme { url: without_credentials(url), supported };
        let (written, rest) = url.split_once(':').ok_or_else(no_scheme)?;
        let is_scheme = written.starts_with(|c: char| c.is_ascii_alphabetic())
            && written.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        if !is_scheme {
            return Err(no_scheme());
        }
        let alias = aliases.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(written));
        let written = alias.map_or(written, |(_, scheme)| scheme);
        let same = |known: &&&'static str| known.eq_ignore_ascii_case(written);
        if let Some(scheme) = schemes.planned.iter().find(same) {
            return Err(UrlError::PlannedScheme { scheme, supported });
        }
        let Some(scheme) = supported.iter().find(same) else {
            let meant = ELSEWHERE.iter().find(|(other, _)| other.eq_ignore_ascii_case(written));
            let nearest = match meant.filter(|(_, scheme)| supported.contains(scheme)) {
                Some((_, scheme)) => Some(*scheme),
                None => nearest(written, supported.iter().copied()),
            };
            return Err(UrlError::UnknownScheme { scheme: quote(written), nearest, supported });
        };
        if let Some(bad) = rest.chars().find(|c| !c.is_ascii_graphic()) {
            return Err(UrlError::Character(bad));
        }
        if rest.contains('#') {
            return Err(UrlError::Fragment);
        }
        let (hierarchy, query) = rest.split_once('?').unwrap_or((rest, ""));
        let Some(hierarchy) = hierarchy.strip_prefix("//") else {
            let has_late_at = false;
            return Ok(Self { scheme, authority: None, path: hierarchy, query, has_late_at });
        };
        let end = hierarchy.find('/').unwrap_or(hierarchy.len());
        let (authority, path) = hierarchy.split_at_checked(end).unwrap_or((hierarchy, ""));
        let has_late_at = path.contains('@') || query.contains('@');
        Ok(Self { scheme, authority: Some(authority), path, query, has_late_at })
    }

    /// Host and port of a URL that has nothing else but a query.
    pub(super) fn endpoint(&self, port_least: u16) -> Result<(Host, Option<u16>), UrlError> {
        let Authority { userinfo, host, port } = self.authority(port_least)?;
        if userinfo.is_some() {
            return Err(UrlError::Credentials(self.scheme));
        }
        if !matches!(self.path, "" | "/") {
            return Err(UrlError::Path(self.scheme));
        }
        Ok((host, port))
    }

    /// What stands before the host, the host, and the port.
    pub(super) fn authority(&self, port_least: u16) -> Result<Authority<'a>, UrlError> {
        let authority = self.authority.ok_or(UrlError::NoHost(self.scheme))?;
        let (userinfo, endpoint) = match authority.rsplit_once('@') {
            Some((userinfo, endpoint)) => (Some(userinfo), endpoint),
            None => (None, authority),
        };
        let (host, port) = split_port(endpoint);
        if host.is_empty() {
            return Err(UrlError::NoHost(self.scheme));
        }
        let port = port.map(|port| read_port(port, port_least)).transpose()?;
        Ok(Authority { userinfo, host: Host::parse(host)?, port })
    }

    /// An error without what may be a part of a password: one with `/` or `?` in it ends the
    /// authority early, and what it begins with is taken for a port or for the query.
    pub(super) fn hide(&self, error: UrlError) -> UrlError {
        let is_doubtful = match &error {
            UrlError::Port { .. } | UrlError::Host(_) | UrlError::QueryKey { .. } => {
                self.has_late_at
            }
            UrlError::QueryValue { value, .. } | UrlError::QueryNumber { value, .. } => {
                value.contains('@')
            }
            _ => false,
        };
        match self.scheme {
            _ if !is_doubtful => error,
            "http" | "https" => UrlError::BadCredentials,
            scheme => UrlError::Credentials(scheme),
        }
    }

    /// The values of the query by key, in the order of `keys`; nothing else may be in it.
    pub(super) fn query<const N: usize>(
        &self,
        keys: &'static [&'static str; N],
    ) -> Result<[Option<&'a str>; N], UrlError> {
        let (values, others) = self.pairs(keys)?;
        let Some(pair) = others.into_iter().find(|pair| !pair.is_empty()) else {
            return Ok(values);
        };
        let key = pair.split_once('=').map_or(pair, |(key, _)| key);
        let nearest = nearest(key, keys.iter().copied());
        let (key, scheme) = (quote(key), self.scheme);
        Err(UrlError::QueryKey { key, scheme, nearest, allowed: keys })
    }

    /// The values of these keys of the query, and all that is in it besides.
    pub(super) fn pairs<const N: usize>(
        &self,
        keys: &'static [&'static str; N],
    ) -> Result<Pairs<'a, N>, UrlError> {
        let (mut values, mut others) = ([None; N], Vec::new());
        for pair in self.query.split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let known = keys.iter().zip(&mut values).find(|(known, _)| **known == key);
            match known {
                None => others.push(pair),
                Some((known, place)) => {
                    if place.replace(value).is_some() {
                        return Err(UrlError::QueryTwice(known));
                    }
                }
            }
        }
        Ok((values, others))
    }
}

impl Host {
    fn parse(text: &str) -> Result<Self, UrlError> {
        let bad = || UrlError::Host(quote(text));
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or_else(bad)?;
            let address = inner.parse::<Ipv6Addr>().map_err(|_| bad())?;
            return Ok(Self::Address(IpAddr::V6(address)));
        }
        // Where the last label is a number, resolvers read all of it as an IPv4 address, and some
        // read `127.1` and `0x7f.1` too. Only the form with four decimal numbers is taken here.
        let last = text.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
        let is_number = last.starts_with(|c: char| c.is_ascii_digit())
            && (last.bytes().all(|byte| byte.is_ascii_digit())
                || last.starts_with("0x")
                || last.starts_with("0X"));
        if is_number {
            let address = text.parse::<Ipv4Addr>().map_err(|_| bad())?;
            return Ok(Self::Address(IpAddr::V4(address)));
        }
        let labels = text.strip_suffix('.').unwrap_or(text);
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        };
        let is_name = labels.len() <= 253 && labels.split('.').all(is_label);
        if is_name { Ok(Self::Name(text.to_ascii_lowercase())) } else { Err(bad()) }
    }

    /// As it stands in a URL: IPv6 in brackets.
    pub(super) fn in_url(&self) -> String {
        match self {
            Self::Address(IpAddr::V6(address)) => format!("[{address}]"),
            Self::Address(address) => address.to_string(),
            Self::Name(name) => name.clone(),
        }
    }

    /// As a resolver takes it: without brackets.
    pub(super) fn to_text(&self) -> String {
        match self {
            Self::Address(address) => address.to_string(),
            Self::Name(name) => name.clone(),
        }
    }
}

/// Looks a query's value up in its list; the first of the list is the default.
pub(super) fn query_choice<T: Copy>(
    key: &'static str,
    written: Option<&str>,
    default: T,
    choices: &'static [(&'static str, T)],
) -> Result<T, UrlError> {
    let Some(written) = written else { return Ok(default) };
    if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == written) {
        return Ok(*choice);
    }
    let allowed: Vec<&'static str> = choices.iter().map(|(name, _)| *name).collect();
    let nearest = nearest(written, allowed.iter().copied());
    Err(UrlError::QueryValue { key, value: quote(written), nearest, allowed })
}

/// A host as a certificate has it: an IP address, without brackets, or a name in lower case.
pub(super) fn host_name(text: &str) -> Option<String> {
    match text.parse::<IpAddr>() {
        Ok(address) => Some(address.to_string()),
        Err(_) => Host::parse(text).ok().map(|host| host.to_text()),
    }
}

/// A query's number in its range, both ends allowed.
pub(super) fn query_number(
    key: &'static str,
    written: Option<&str>,
    default: usize,
    (least, most): (usize, usize),
) -> Result<usize, UrlError> {
    let Some(written) = written else { return Ok(default) };
    let is_number = written.bytes().all(|byte| byte.is_ascii_digit());
    let number = written.parse().ok().filter(|number| (least..=most).contains(number) && is_number);
    number.ok_or_else(|| UrlError::QueryNumber { key, value: quote(written), least, most })
}

/// The path with its escapes undone.
pub(super) fn unescape(path: &str) -> Result<String, UrlError> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let high = rest.next().and_then(hex).ok_or(UrlError::Escape)?;
        let low = rest.next().and_then(hex).ok_or(UrlError::Escape)?;
        bytes.push(high << 4 | low);
    }
    let text = String::from_utf8(bytes).map_err(|_| UrlError::Escape)?;
    if text.contains('\0') { Err(UrlError::Escape) } else { Ok(text) }
}

/// A path with escapes for all but unreserved characters and `/`.
pub(super) fn escape(path: &str) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a `String` does not fail.
            write!(text, "%{byte:02X}").unwrap_or_default();
        }
    }
    text
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Host and port; the colons inside `[…]` do not count.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.starts_with('[') || host.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn read_port(port: &str, least: u16) -> Result<u16, UrlError> {
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let value = port.parse::<u16>().ok().filter(|value| is_number && *value >= least);
    value.ok_or_else(|| UrlError::Port { port: quote(port), least })
}

/// A URL for a message: what stands before an `@` may be a password.
fn without_credentials(url: &str) -> String {
    quote(url.rsplit_once('@').map_or(url, |(_, rest)| rest))
}
