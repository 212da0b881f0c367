//! Dialling with the policy: nothing forbidden is ever connected to.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};

use super::support::{PATIENCE, assert_echoes, echo, name_server, network, told};
use crate::net::{Cidr, DialError, Endpoint, Limits, Network, Policy, Resolver, Rule, dial};

fn endpoint(host: &str, port: u16, guarded: bool) -> Endpoint {
    Endpoint { host: host.to_owned(), port, tls: None, guarded }
}

/// A listener that no connection must reach.
struct Trap(TcpListener);

impl Trap {
    async fn at(address: &str) -> Self {
        Self(TcpListener::bind(address).await.unwrap())
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    /// A connection made before now waits to be accepted.
    async fn assert_untouched(&self) {
        tokio::select! {
            biased;
            accepted = self.0.accept() => panic!("reached: {accepted:?}"),
            () = std::future::ready(()) => {}
        }
    }
}

/// The table S1: what a tenant may try in a drain's URL, as a host.
#[tokio::test]
async fn no_spelling_of_a_forbidden_address_is_connected_to() {
    let trap = Trap::at("127.0.0.1:0").await;
    let rows = [
        ("127.0.0.1", Some("loopback")),
        ("0x7f.1", Some("loopback")),
        ("0x7f000001", Some("loopback")),
        ("0177.0.0.1", Some("loopback")),
        ("2130706433", Some("loopback")),
        ("127.1", Some("loopback")),
        ("localhost", Some("loopback")),
        ("[::1]", Some("loopback")),
        ("::1", Some("loopback")),
        ("[::ffff:7f00:1]", Some("loopback")),
        ("::ffff:127.0.0.1", Some("loopback")),
        ("64:ff9b::7f00:1", Some("loopback")),
        ("169.254.169.254", Some("metadata")),
        ("[fd00:ec2::254]", Some("metadata")),
        ("100.64.0.1", Some("carrier NAT")),
        ("100.100.100.200", Some("metadata")),
        ("0.0.0.0", Some("unspecified")),
        ("0", Some("unspecified")),
        ("[::]", Some("unspecified")),
        ("fe80::1%1", Some("link-local")),
        ("[fe80::1%1]", Some("link-local")),
        ("10.0.0.1", Some("private")),
        ("255.255.255.255", Some("broadcast")),
        // Userinfo, other schemes, and what else is no host.
        ("user@127.0.0.1", None),
        ("8.8.8.8@127.0.0.1", None),
        ("8.8.8.8#@127.0.0.1", None),
        ("127.0.0.1:80@8.8.8.8/", None),
        ("file:///etc/passwd", None),
        ("unix:/run/x.sock", None),
        ("127.0.0.1\0.example.com", None),
        ("127.0.0.1 ", None),
        ("１２７.0.0.1", None),
        ("ⓛocalhost", None),
        ("", None),
        ("[]", None),
    ];
    let network = Network::default();
    for (host, rule) in rows {
        let error = dial(&network, &endpoint(host, trap.port(), true)).await.unwrap_err();
        match (&error, rule) {
            (DialError::Forbidden { source, .. }, Some(rule)) => {
                assert_eq!(source.rule.to_string(), rule, "{host}");
                assert_eq!((error.keyword(), error.is_permanent()), ("forbidden", true));
            }
            (DialError::Host { .. }, None) => {
                assert_eq!((error.keyword(), error.is_permanent()), ("resolve", false));
            }
            _ => panic!("{host}: {error:?}"),
        }
    }
    trap.assert_untouched().await;
}

#[tokio::test]
async fn the_own_control_port_is_forbidden_even_where_loopback_is_allowed() {
    let trap = Trap::at("127.0.0.1:0").await;
    let own = trap.0.local_addr().unwrap();
    let allow = vec!["127.0.0.0/8".parse::<Cidr>().unwrap().into()];
    let network = Network { policy: Policy::new(allow, vec![], vec![own]), ..Network::default() };
    for host in ["127.0.0.1", "localhost", "0.0.0.0", "::ffff:127.0.0.1"] {
        let error = dial(&network, &endpoint(host, own.port(), true)).await.unwrap_err();
        let DialError::Forbidden { source, .. } = error else { panic!("{host}: {error}") };
        // `localhost` may be `::1` first, which is not allowed at all.
        assert!(matches!(source.rule, Rule::OwnListener | Rule::Loopback), "{host}: {source}");
    }
    trap.assert_untouched().await;
}

#[tokio::test]
async fn what_the_operator_configured_is_not_guarded() {
    let (address, _told) = echo(None).await;
    let guarded = endpoint("127.0.0.1", address.port(), true);
    assert_eq!(dial(&Network::default(), &guarded).await.unwrap_err().keyword(), "forbidden");
    let free = endpoint("127.0.0.1", address.port(), false);
    assert_eq!(
        Network::default().addresses("127.0.0.1", address.port(), false).await.unwrap(),
        [address]
    );
    let mut stream = dial(&Network::default(), &free).await.unwrap();
    assert_eq!((stream.peer(), stream.is_tls(), stream.alpn()), (address, false, None));
    assert_echoes(&mut stream, b"hello").await;
}

const ALLOWED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const FORBIDDEN: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A network where [`ALLOWED`] passes for a public address.
async fn guarded_network(
    answer: impl Fn(usize) -> Vec<Ipv4Addr> + Send + 'static,
) -> (Network, Trap, TcpListener) {
    let trap = Trap::at("127.0.0.1:0").await;
    let open = TcpListener::bind((ALLOWED, trap.port())).await.unwrap();
    let allow = vec![ALLOWED.to_string().parse::<Cidr>().unwrap().into()];
    let resolver = Resolver::Servers(vec![name_server(answer).await]);
    let policy = Policy::new(allow, Vec::new(), Vec::new());
    (Network { policy, resolver, ..Network::default() }, trap, open)
}

/// The table S2. Were the name resolved once to be judged and once more to be connected to, the
/// first connection would go astray; were it remembered, the second one would be made.
#[tokio::test]
async fn a_name_that_flips_between_two_answers_never_reaches_the_forbidden_one() {
    let flip = |count| vec![if count == 0 { ALLOWED } else { FORBIDDEN }];
    let (network, trap, open) = guarded_network(flip).await;
    let name = endpoint("rebind.example.com", trap.port(), true);
    let stream = dial(&network, &name).await.unwrap();
    assert_eq!(stream.peer(), open.local_addr().unwrap());
    for _ in 0..3 {
        let error = dial(&network, &name).await.unwrap_err();
        assert_eq!(error.keyword(), "forbidden", "{error:?}");
    }
    trap.assert_untouched().await;
}

#[tokio::test]
async fn a_name_with_one_forbidden_address_is_refused_as_a_whole() {
    for answer in [vec![ALLOWED, FORBIDDEN], vec![FORBIDDEN, ALLOWED]] {
        let (network, trap, open) = guarded_network(move |_| answer.clone()).await;
        let name = endpoint("both.example.com", trap.port(), true);
        let error = dial(&network, &name).await.unwrap_err();
        assert_eq!(
            network.addresses("x.example.com", 1, true).await.unwrap_err().keyword(),
            "forbidden"
        );
        let said = told(&error);
        assert!(said.contains("127.0.0.1") && said.contains("loopback"), "{said}");
        trap.assert_untouched().await;
        Trap(open).assert_untouched().await;
    }
}

/// All addresses are judged, also those that would never be tried.
#[tokio::test]
async fn a_forbidden_address_does_not_hide_behind_many_others() {
    let mut answer: Vec<Ipv4Addr> = vec![ALLOWED; 30];
    answer.push(FORBIDDEN);
    let (network, trap, open) = guarded_network(move |_| answer.clone()).await;
    let name = endpoint("many.example.com", trap.port(), true);
    assert_eq!(dial(&network, &name).await.unwrap_err().keyword(), "forbidden");
    Trap(open).assert_untouched().await;
}

/// With name servers of our own nobody makes addresses of numbers: they are names like others.
#[tokio::test]
async fn spellings_of_loopback_reach_nothing_by_way_of_name_servers_either() {
    let (network, trap, _open) = guarded_network(|_| Vec::new()).await;
    let hosts =
        ["127.0.0.1", "0x7f.1", "2130706433", "127.1", "localhost", "localhost.", "fe80::1%1"];
    for host in hosts {
        let error = dial(&network, &endpoint(host, trap.port(), true)).await.unwrap_err();
        assert!(matches!(error.keyword(), "forbidden" | "resolve"), "{host}: {error:?}");
    }
    trap.assert_untouched().await;
}

#[tokio::test]
async fn a_destination_that_moves_is_followed_at_the_next_dial() {
    let (network, trap, open) =
        guarded_network(|count| vec![if count == 0 { FORBIDDEN } else { ALLOWED }]).await;
    let name = endpoint("moved.example.com", trap.port(), false);
    assert_eq!(dial(&network, &name).await.unwrap().peer(), trap.0.local_addr().unwrap());
    assert_eq!(dial(&network, &name).await.unwrap().peer(), open.local_addr().unwrap());
}

#[tokio::test]
async fn the_addresses_of_a_name_are_tried_in_turn() {
    // Nobody listens at the first one.
    let listener = TcpListener::bind("127.0.0.3:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let server = name_server(|_| vec![Ipv4Addr::new(127, 0, 0, 4), Ipv4Addr::new(127, 0, 0, 3)]);
    let resolver = Resolver::Servers(vec![server.await]);
    let network = Network { resolver, ..Network::default() };
    let stream = dial(&network, &endpoint("two.example.com", at.port(), false)).await.unwrap();
    assert_eq!(stream.peer(), at);
}

#[tokio::test]
async fn a_closed_port_is_refused_and_an_unknown_name_is_not_resolved() {
    // Taken at one address, and so given to nobody at another one.
    let trap = Trap::at("127.0.0.1:0").await;
    let port = trap.port();
    let network = network().await;
    let error = dial(&network, &endpoint("127.0.0.9", port, false)).await.unwrap_err();
    assert_eq!((error.keyword(), error.is_permanent()), ("refused", false));
    let said = told(&error);
    let expected = format!("cannot connect to 127.0.0.9 at 127.0.0.9:{port}: ");
    assert!(said.starts_with(&expected), "{said}");

    let resolver = Resolver::Servers(vec![name_server(|_| Vec::new()).await]);
    let network = Network { resolver, ..Network::default() };
    let error = dial(&network, &endpoint("none.example.com", 514, false)).await.unwrap_err();
    assert_eq!(error.keyword(), "resolve", "{error:?}");
}

#[tokio::test]
async fn a_name_server_that_is_silent_is_not_waited_for() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let resolver = Resolver::Servers(vec![silent.local_addr().unwrap()]);
    let limits = Limits { resolve: Duration::from_millis(50), ..Limits::default() };
    let network = Network { resolver, limits, ..Network::default() };
    let name = endpoint("silent.example.com", 514, false);
    let error = tokio::time::timeout(PATIENCE, dial(&network, &name)).await.unwrap().unwrap_err();
    assert!(matches!(error, DialError::ResolveTimeout { .. }), "{error:?}");
}

/// With the backlog full the kernel drops further attempts, as a firewall would.
#[tokio::test]
async fn a_peer_that_does_not_answer_is_not_waited_for() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let at = listener.local_addr().unwrap();
    let limits = Limits { connect: Duration::from_millis(100), ..Limits::default() };
    let network = Network { limits, ..Network::default() };
    let mut waiting = Vec::new();
    let error = loop {
        match dial(&network, &endpoint("127.0.0.1", at.port(), false)).await {
            Ok(stream) => waiting.push(stream),
            Err(error) => break error,
        }
        assert!(waiting.len() < 100, "the backlog never fills");
    };
    assert!(matches!(error, DialError::ConnectTimeout { .. }), "{error:?}");
    assert_eq!(error.keyword(), "timeout");
}

#[tokio::test]
async fn an_address_in_brackets_and_a_name_with_a_dot_at_its_end_are_hosts() {
    let resolver = network().await.resolver;
    let v6: SocketAddr = "[::1]:514".parse().unwrap();
    assert_eq!(resolver.resolve("[::1]", 514, PATIENCE).await.unwrap(), [v6]);
    let v4: SocketAddr = "127.0.0.1:514".parse().unwrap();
    for name in ["logs.example.com.", "logs", "under_score.example.com"] {
        assert_eq!(resolver.resolve(name, 514, PATIENCE).await.unwrap(), [v4], "{name}");
    }
    let nobody = Resolver::Servers(Vec::new());
    assert_eq!(nobody.resolve("logs", 514, PATIENCE).await.unwrap_err().keyword(), "resolve");
}
