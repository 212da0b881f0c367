//! Subjects of certificates as text.

use std::sync::LazyLock;

use proptest::prelude::*;
use rcgen::{CertificateParams, CustomExtension, DnType, DnValue, KeyPair};

use crate::net::subject;

fn certificate(names: &[(DnType, DnValue)]) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    for (kind, value) in names {
        params.distinguished_name.push(kind.clone(), value.clone());
    }
    // More behind the subject does not matter.
    params.custom_extensions.push(CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0]));
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

fn text(value: &str) -> DnValue {
    DnValue::Utf8String(value.to_owned())
}

#[test]
fn a_subject_is_written_with_the_most_particular_name_first() {
    let der = certificate(&[
        (DnType::CountryName, text("AT")),
        (DnType::OrganizationName, text("Example, Inc.")),
        (DnType::CommonName, text("edge-1")),
    ]);
    assert_eq!(subject(&der).unwrap(), "CN=edge-1,O=Example\\, Inc.,C=AT");
}

#[test]
fn what_could_be_taken_for_something_else_is_escaped() {
    for (value, expected) in [
        ("a+b\"c\\d<e>f;g", "CN=a\\+b\\\"c\\\\d\\<e\\>f\\;g"),
        (" #x ", "CN=\\ #x\\ "),
        ("#x", "CN=\\#x"),
        ("two\nlines\u{7f}", "CN=two\\0alines\\7f"),
        ("Grüße", "CN=Grüße"),
    ] {
        assert_eq!(subject(&certificate(&[(DnType::CommonName, text(value))])).unwrap(), expected);
    }
}

#[test]
fn an_attribute_without_a_short_name_has_its_number() {
    let custom = DnType::CustomDnType(vec![2, 5, 4, 5]);
    let der = certificate(&[(custom, text("77")), (DnType::CommonName, text("x"))]);
    assert_eq!(subject(&der).unwrap(), "CN=x,2.5.4.5=77");
}

#[test]
fn a_subject_that_is_too_long_is_cut_at_a_character() {
    let der = certificate(&[(DnType::CommonName, text(&"ü".repeat(2_000)))]);
    let subject = subject(&der).unwrap();
    assert!(subject.len() <= 1024 && subject.ends_with('ü'), "{}", subject.len());
}

proptest! {
    #[test]
    fn bytes_of_any_kind_and_damaged_certificates_are_read_without_harm(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        static CERTIFICATE: LazyLock<Vec<u8>> =
            LazyLock::new(|| certificate(&[(DnType::CommonName, text("edge"))]));
        drop(subject(&bytes));
        let mut der = CERTIFICATE.clone();
        let at = at.index(der.len());
        der[at] = byte;
        drop(subject(&der));
        drop(subject(&der[..at]));
    }
}
