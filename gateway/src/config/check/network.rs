//! Networks and name servers.

use std::net::SocketAddr;

use super::super::raw::{RawNetwork, Text, Texts};
use super::super::report::{ProblemKind, Report, quote};
use super::super::{Cidr, Endpoints, Guard, Network};
use super::value::choice;

const GUARDS: &[(&str, Guard)] = &[("tenants", Guard::Tenants), ("all", Guard::All)];

pub(super) fn check(raw: &RawNetwork, report: &mut Report<'_>) -> Network {
    Network {
        allow: endpoints("allow", raw.allow.as_ref(), report),
        deny: endpoints("deny", raw.deny.as_ref(), report),
        guard: choice("guard", raw.guard.as_ref(), Guard::Tenants, GUARDS, report),
        nameservers: items(raw.nameservers.as_ref(), nameserver, report),
    }
}

pub(super) fn networks(
    key: &'static str,
    texts: Option<&Texts>,
    report: &mut Report<'_>,
) -> Vec<Cidr> {
    let read = |text: &str| Cidr::parse(text).map_err(|error| ProblemKind::Network { key, error });
    items(texts, read, report)
}

fn endpoints(key: &'static str, texts: Option<&Texts>, report: &mut Report<'_>) -> Vec<Endpoints> {
    let refused = |error| ProblemKind::Network { key, error };
    items(texts, |text| Endpoints::parse(text).map_err(refused), report)
}

fn nameserver(text: &str) -> Result<SocketAddr, ProblemKind> {
    let address = text.parse().ok().filter(|address: &SocketAddr| address.port() != 0);
    address.ok_or_else(|| ProblemKind::Address { key: "nameservers", value: quote(text) })
}

/// What can be read of a list.
fn items<T>(
    texts: Option<&Texts>,
    read: impl Fn(&str) -> Result<T, ProblemKind>,
    report: &mut Report<'_>,
) -> Vec<T> {
    let texts = texts.into_iter().flat_map(|texts| texts.get_ref());
    let mut refuse = |text: &Text, kind| report.add(text.span().start, kind);
    texts.filter_map(|text| read(text.get_ref()).map_err(|kind| refuse(text, kind)).ok()).collect()
}
