//! What holds for any bytes.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn no_bytes_break_the_decoder(frame in proptest::collection::vec(any::<u8>(), 0..400)) {
        best(&frame);
    }

    #[test]
    fn nothing_near_syslog_breaks_the_decoder(frame in near_syslog()) {
        let seen = best(&frame);
        // Strict and best effort agree on what is valid.
        if let Ok(same) = strict(&frame) {
            prop_assert_eq!(&same, &seen);
            prop_assert_eq!(same.flags & flags::MALFORMED, 0);
        } else {
            prop_assert_eq!(seen.flags & flags::VERBATIM, 0);
        }
    }

    #[test]
    fn the_exact_reader_finds_what_the_tolerant_one_finds(frame in near_syslog()) {
        let bytes = trim(&frame);
        let decoder = Decoder::new(Format::Rfc5424, Mode::BestEffort);
        let tolerant = decoder.read(bytes, 0, RECEIVED).unwrap();
        match exact::read(bytes, 0, RECEIVED) {
            Some(exact) => prop_assert_eq!(exact, tolerant),
            // It may give up on more elements than it remembers, on nothing else that is valid.
            None => prop_assert!(
                tolerant.flags & flags::VERBATIM == 0
                    || structured_data(tolerant.structured_data.of(bytes)).count() > 8
            ),
        }
    }
}

/// Messages made of parts that are right or nearly so.
fn near_syslog() -> impl Strategy<Value = Vec<u8>> {
    let priority =
        prop_oneof![6 => "<(0|[1-9][0-9]?|1[0-8][0-9])>1 ", 1 => "<[0-9]{0,4}>[0-9]{0,4} ?"];
    let time = prop_oneof![
        6 => "20[0-9]{2}-(0[1-9]|1[0-2])-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9](\\.[0-9]{1,9})?(Z|[+-][0-2][0-9]:[0-6][0-9]) ",
        2 => "- ",
        1 => "[A-Z][a-z]{2} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{3})? ",
        1 => "[0-9T:Z.+-]{0,30} ?",
    ];
    let field = prop_oneof![8 => "[!-~]{1,50} ", 2 => "- ", 1 => "[ -~é\n]{0,300} ?"];
    let value =
        prop_oneof![4 => "([!a-z \\[=]|\\\\\"|\\\\\\]|\\\\\\\\|é){0,20}", 1 => "[ -~]{0,20}"];
    let param = prop_oneof![
        8 => ("[a-z]{1,33}", value).prop_map(|(name, value)| format!(" {name}=\"{value}\"")),
        1 => " [a-z]{1,5}=[0-9]{0,3}",
    ];
    let element = ("[a-e@]{1,3}", proptest::collection::vec(param, 0..4))
        .prop_map(|(id, params)| format!("[{id}{}]", params.concat()));
    let data = prop_oneof![
        2 => Just("-".to_owned()),
        6 => proptest::collection::vec(element, 1..11).prop_map(|all| all.concat()),
        1 => "[\\[\\]a-z=\" \\\\]{0,30}",
    ];
    let body = prop_oneof![4 => "( [ -~é]{0,80})?", 1 => " \u{feff}.{0,10}", 1 => "[ -~\n]{0,20}"];
    (priority, time, proptest::collection::vec(field, 4), data, body).prop_map(
        |(priority, time, fields, data, body)| {
            [priority, time, fields.concat(), data, body].concat().into_bytes()
        },
    )
}
