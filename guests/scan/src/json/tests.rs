//! The scanner beside serde_json, which judges.

use super::*;
use proptest::prelude::*;

fn members(text: &[u8]) -> Result<Vec<(Text<'_>, Value<'_>)>, Invalid> {
    let mut members = Members::new(text)?;
    let mut all = Vec::new();
    while let Some(member) = members.next()? {
        all.push(member);
    }
    Ok(all)
}

#[test]
fn members_come_in_order_with_their_kinds() {
    let text = br#" {"a":1, "b" : -1.5 ,"c":"x\n","d":{"e":[1,{}]},"f":[],"g":true,"h":null} "#;
    let values: Vec<Value<'_>> = members(text).unwrap().into_iter().map(|(_, v)| v).collect();
    assert_eq!(
        values,
        [
            Value::Number(Number::Integer(1)),
            Value::Number(Number::Float(-1.5)),
            Value::String(Text { raw: br"x\n", has_escapes: true }),
            Value::Object(br#"{"e":[1,{}]}"#),
            Value::Array(b"[]"),
            Value::Bool(true),
            Value::Null,
        ]
    );
}

#[test]
fn what_is_no_object_is_refused() {
    for text in [
        "",
        " ",
        "[]",
        "1",
        "{",
        "{}x",
        "{,}",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{"a":1 "b":2}"#,
        r#"{a:1}"#,
        r#"{"a":tru}"#,
        r#"{"a":[1,]}"#,
        r#"{"a":[1}"#,
        r#"{"a":{"b"}}"#,
        r#"{"a":"x}"#,
        r#"{"a":"\x"}"#,
        r#"{"a":"\u12g4"}"#,
        "{\"a\":\"\n\"}",
        r#"{"a":01}"#,
        r#"{"a":[[]}"#,
        r#"{"a":{}]"#,
        r#"{"a":1}}"#,
    ] {
        assert_eq!(members(text.as_bytes()), Err(Invalid), "{text}");
    }
}

#[test]
fn depth_has_a_limit() {
    let nest = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(members(nest(DEPTH_MAX as usize).as_bytes()).is_ok());
    assert_eq!(members(nest(DEPTH_MAX as usize + 1).as_bytes()), Err(Invalid));
    assert_eq!(members(nest(100_000).as_bytes()), Err(Invalid));
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        // Exact in binary, as serde_json does not read floats to the last bit.
        any::<i32>().prop_map(|eighths| (f64::from(eighths) / 8.0).into()),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::hash_map(any::<String>(), inner, 0..4)
                .prop_map(|map| map.into_iter().collect::<serde_json::Value>()),
        ]
    })
}

/// The value as serde_json has it.
fn known(value: &Value<'_>) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Number(Number::Integer(value)) => (*value).into(),
        Value::Number(Number::Float(value)) => (*value).into(),
        Value::String(text) => string(*text).into(),
        Value::Object(text) | Value::Array(text) => serde_json::from_slice(text).unwrap(),
    }
}

fn string(text: Text<'_>) -> String {
    let mut out = Vec::new();
    text.unescape(&mut out);
    String::from_utf8(out).unwrap()
}

proptest! {
    #[test]
    fn objects_read_as_serde_json_reads_them(
        object in prop::collection::btree_map(any::<String>(), json(), 0..6),
        is_pretty: bool,
    ) {
        let text = if is_pretty {
            serde_json::to_string_pretty(&object).unwrap()
        } else {
            serde_json::to_string(&object).unwrap()
        };
        let read: Vec<_> = members(text.as_bytes()).unwrap();
        prop_assert_eq!(read.len(), object.len());
        for (key, value) in read {
            prop_assert_eq!(&known(&value), &object[&string(key)]);
        }
    }

    /// A text with one byte changed is accepted by both or refused by both. serde_json also looks
    /// for UTF-8 and for numbers beyond a float, so only ASCII is put in.
    #[test]
    fn a_changed_byte_is_judged_as_serde_json_judges_it(
        object in prop::collection::btree_map("[a-z\\\\\"\n]{0,5}", json(), 0..4),
        at: prop::sample::Index,
        byte in 1u8..127,
    ) {
        let mut text = serde_json::to_vec(&object).unwrap();
        let at = at.index(text.len());
        if text[at].is_ascii() {
            text[at] = byte;
            let theirs = serde_json::from_slice::<serde_json::Map<_, _>>(&text);
            let is_escape_of_half_a_pair = text.windows(3).any(|w| w == b"\\ud" || w == b"\\uD");
            // serde_json keeps the last of two equal keys and refuses nothing for it.
            if !is_escape_of_half_a_pair {
                prop_assert_eq!(members(&text).is_ok(), theirs.is_ok(), "{:?}", text);
            }
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes: Vec<u8>) {
        let has_open = bytes.contains(&b'{');
        prop_assert!(members(&bytes).is_err() || has_open);
        let mut text = b"{\"a\":".to_vec();
        text.extend_from_slice(&bytes);
        let has_close = bytes.trim_ascii_end().ends_with(b"}");
        prop_assert!(members(&text).is_err() || has_close);
    }
}
