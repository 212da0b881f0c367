//! What went wrong in a TLS connection, in the terms of who has to do something about it.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// Kinds of failure. The details are with the error it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// The certificate was valid until some time ago.
    CertificateExpired,
    /// The certificate will be valid, which often means that a clock is wrong.
    CertificateNotYetValid,
    /// The certificate is for other names.
    CertificateName,
    /// A self-signed certificate that is marked as an authority's.
    CertificateOfAuthority,
    /// Nobody who is trusted has signed the certificate.
    CertificateUnknownCa,
    /// The certificate is unusable for another reason.
    CertificateUnusable,
    /// The peer refuses the client's certificate, or misses it.
    ClientCertificate,
    /// The peer ended the connection before the handshake was done.
    Closed,
    /// Another failure of the protocol.
    Handshake,
    /// The connection broke.
    Io,
    /// What the peer speaks is not TLS.
    NotTls,
    /// The host cannot be a name in a certificate.
    ServerName,
}

impl TlsFault {
    /// The kind of an error that connecting, reading, or writing ended with. With TLS 1.3 a peer
    /// may refuse the client's certificate only after the client's handshake is done: then the
    /// first read tells.
    pub fn of(error: &io::Error) -> Self {
        let Some(cause) = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>()) else {
            return match error.kind() {
                io::ErrorKind::UnexpectedEof => Self::Closed,
                _ => Self::Io,
            };
        };
        match cause {
            Error::InvalidCertificate(invalid) => of_certificate(invalid),
            Error::AlertReceived(alert) => of_alert(*alert),
            Error::NoCertificatesPresented => Self::ClientCertificate,
            Error::InvalidMessage(_) | Error::PeerSentOversizedRecord => Self::NotTls,
            _ => Self::Handshake,
        }
    }

    /// What an error of a connection that is open says about TLS, with a word for a metric's label;
    /// none if it is no matter of TLS.
    #[must_use]
    pub fn within(error: &io::Error, host: &str) -> Option<(&'static str, String)> {
        error.get_ref()?.downcast_ref::<Error>()?;
        let fault = Self::of(error);
        Some((fault.keyword(), format!("{}: {error}", fault.explain(host))))
    }

    /// The kind of failure for which this side has sent an alert, with the words of the TLS library.
    pub(in crate::net) fn of_own_alert(alert: u8, reason: &str) -> Self {
        match AlertDescription::from(alert) {
            AlertDescription::CertificateExpired if reason.contains("not valid yet") => {
                Self::CertificateNotYetValid
            }
            AlertDescription::CertificateExpired => Self::CertificateExpired,
            AlertDescription::UnknownCA | AlertDescription::DecryptError => {
                Self::CertificateUnknownCa
            }
            _ if reason.contains("not valid for name") => Self::CertificateName,
            _ if reason.contains("CaUsedAsEndEntity") => Self::CertificateOfAuthority,
            AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
                Self::CertificateUnusable
            }
            _ => Self::Handshake,
        }
    }

    /// The kind of failure that the peer has sent an alert for.
    pub(in crate::net) fn of_peers_alert(alert: u8) -> Self {
        of_alert(AlertDescription::from(alert))
    }

    /// A word of a closed set, for a metric's label.
    pub fn keyword(self) -> &'static str {
        match self {
            Self::CertificateExpired | Self::CertificateNotYetValid => "tls_certificate_expired",
            Self::CertificateName | Self::ServerName => "tls_certificate_name",
            Self::CertificateUnknownCa => "tls_certificate_unknown_ca",
            Self::ClientCertificate => "tls_client_certificate",
            Self::CertificateOfAuthority
            | Self::CertificateUnusable
            | Self::Closed
            | Self::Handshake
            | Self::NotTls => "tls_handshake",
            Self::Io => "io",
        }
    }

    /// What happened with this host, and what to do.
    pub(in crate::net) fn explain(self, host: &str) -> String {
        match self {
            Self::CertificateExpired => {
                format!("the certificate of {host} has expired: renew it there")
            }
            Self::CertificateNotYetValid => {
                format!("the certificate of {host} is not valid yet: is a clock wrong?")
            }
            Self::CertificateName => format!(
                "the certificate of {host} is for other names: give one of them as `server_name`"
            ),
            Self::CertificateOfAuthority => format!(
                "the certificate of {host} is an authority's own, which no server may use: have \
                 it sign another one, or make this one without CA:TRUE"
            ),
            Self::CertificateUnknownCa => format!(
                "the certificate of {host} is signed by an unknown authority: give its CA as `ca`"
            ),
            Self::CertificateUnusable => format!("the certificate of {host} cannot be used"),
            Self::ClientCertificate => format!(
                "{host} does not accept the client certificate or misses one: give `cert` and \
                 `key` of one whose CA it knows"
            ),
            Self::Closed => format!(
                "{host} closed the connection during the TLS handshake: does it speak TLS on this \
                 port?"
            ),
            Self::Handshake => format!(
                "the TLS handshake with {host} failed: it may want a client certificate (`cert` \
                 and `key`), or have no version and suite in common with this end"
            ),
            Self::Io => format!("the connection to {host} broke during the TLS handshake"),
            Self::NotTls => format!("{host} does not speak TLS on this port"),
            Self::ServerName => format!(
                "{host} cannot be a name in a certificate: give the one to expect as `server_name`"
            ),
        }
    }
}

/// What went wrong with a client in a handshake, and what to do. *Source* of the cases: as for
/// [`TlsFault::of`], seen from the other side.
pub(in crate::net) fn explain_client(error: &io::Error) -> String {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
    if let Some(Error::AlertReceived(alert)) = cause {
        return format!("the client ended it ({alert:?}): does it trust the CA of `cert`?");
    }
    let what = match TlsFault::of(error) {
        TlsFault::CertificateExpired => "the client's certificate has expired: renew it there",
        TlsFault::CertificateNotYetValid => {
            "the client's certificate is not valid yet: is a clock wrong?"
        }
        TlsFault::CertificateUnknownCa => {
            "the client's certificate is signed by an unknown authority: add its CA to `client_ca`"
        }
        TlsFault::CertificateOfAuthority => {
            "the client's certificate is an authority's own, which no client may use"
        }
        TlsFault::ClientCertificate => {
            "the client showed no certificate: give it one whose CA is in `client_ca`"
        }
        TlsFault::CertificateUnusable | TlsFault::CertificateName => {
            "the client's certificate cannot be used"
        }
        TlsFault::Closed => "the client closed the connection before it was done",
        TlsFault::Io => "the connection broke",
        TlsFault::NotTls => "what the client speaks is not TLS",
        TlsFault::Handshake | TlsFault::ServerName => {
            "the client has no version or suite in common with this end, or breaks the protocol"
        }
    };
    format!("{what} ({error})")
}

fn of_certificate(invalid: &CertificateError) -> TlsFault {
    use CertificateError as Invalid;
    match invalid {
        Invalid::Expired | Invalid::ExpiredContext { .. } => TlsFault::CertificateExpired,
        Invalid::NotValidYet | Invalid::NotValidYetContext { .. } => {
            TlsFault::CertificateNotYetValid
        }
        Invalid::NotValidForName | Invalid::NotValidForNameContext { .. } => {
            TlsFault::CertificateName
        }
        // A bad signature is what an authority of the same name with another key makes.
        Invalid::UnknownIssuer | Invalid::BadSignature => TlsFault::CertificateUnknownCa,
        // The verifier has no variant of its own for this, but it is what most self-made
        // certificates run into.
        Invalid::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            TlsFault::CertificateOfAuthority
        }
        _ => TlsFault::CertificateUnusable,
    }
}

fn of_alert(alert: AlertDescription) -> TlsFault {
    use AlertDescription as Alert;
    match alert {
        Alert::NoCertificate
        | Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::AccessDenied
        // What some answer to a certificate whose signature they cannot follow.
        | Alert::DecryptError
        | Alert::CertificateRequired => TlsFault::ClientCertificate,
        _ => TlsFault::Handshake,
    }
}
