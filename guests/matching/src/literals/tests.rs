//! Searches for many texts beside the plainest one.

use super::*;
use proptest::prelude::*;

fn plainly(texts: &[String], body: &[u8]) -> LiteralSet {
    let mut found = LiteralSet::default();
    for (index, text) in texts.iter().enumerate() {
        if body.windows(text.len()).any(|window| window == text.as_bytes()) {
            found.insert(index);
        }
    }
    found
}

fn check(texts: &[&str], body: &str) {
    let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    let literals = Literals::new(&texts).unwrap();
    let expected = plainly(&texts, body.as_bytes());
    assert_eq!(literals.find(body.as_bytes()), expected, "{texts:?} in {body:?}");
}

#[test]
fn texts_are_found_wherever_they_stand() {
    let texts = [" status=5", "timed out", "refused", "x", "ref", "sta"];
    for length in 0..70 {
        let filler: String = "abcdefghijklmnop".chars().cycle().take(length).collect();
        for text in texts {
            check(&texts, &format!("{filler}{text}"));
            check(&texts, &format!("{text}{filler}"));
            check(&texts, &format!("{filler}{text}{filler}"));
        }
        check(&texts, &filler);
        for text in texts {
            check(&[text], &format!("{filler}{text}"));
            check(&[text], &format!("{text}{filler}"));
            check(&[text], &filler);
        }
        check(&["abc", "bcd", "abcd", "op"], &filler);
    }
}

#[test]
fn texts_longer_than_the_body_are_not_in_it() {
    check(&["a long text that does not fit", "another one"], "a long text");
    check(&["ab", "cd"], "");
    check(&["ab", "cd"], "a");
}

#[test]
fn a_body_of_zeros_does_not_hold_what_stands_behind_it() {
    check(&["\0\0\0", "\0\0"], "\0\0");
    check(&["\0\0\0", "\0\0", "\0"], "\0");
}

proptest! {
    #[test]
    fn all_three_searches_find_what_the_plainest_finds(
        texts in prop::collection::vec("[abc]{1,5}", 1..80),
        body in "[abcd]{0,80}",
    ) {
        let body = body.as_bytes();
        let expected = plainly(&texts, body);
        prop_assert_eq!(Literals::new(&texts).unwrap().find(body), expected);
        for text in &texts {
            let is_in = body.windows(text.len()).any(|window| window == text.as_bytes());
            prop_assert_eq!(Single::new(text.as_bytes()).is_in(body), is_in);
        }
        let mut found = LiteralSet::default();
        Teddy::new(&texts).find(body, &mut found);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn any_bytes_are_searched(
        texts in prop::collection::vec(any::<String>().prop_filter("empty", |t| !t.is_empty()), 2..20),
        body: Vec<u8>,
    ) {
        let found = Literals::new(&texts).unwrap().find(&body);
        prop_assert_eq!(found, plainly(&texts, &body));
    }
}
