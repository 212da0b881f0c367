//! Configuration texts: JSON into a type of the guest's own.

use serde::de::DeserializeOwned;

/// Reads a guest's configuration. The host hands over JSON made from the operator's TOML table; an
/// empty text means `{}`. With `#[serde(deny_unknown_fields)]` on the type a misspelt key is
/// refused, and the message names the keys that are allowed.
///
/// # Errors
/// What is wrong with the text, for the operator to read.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        // The text is one line made by the host: where in it helps nobody.
        match message.rfind(" at line ") {
            Some(end) => message.get(..end).unwrap_or(&message).to_owned(),
            None => message,
        }
    })
}

#[cfg(test)]
mod tests {
    #[derive(serde::Deserialize, Debug, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct Config {
        format: String,
    }

    impl Default for Config {
        fn default() -> Self {
            Self { format: "auto".into() }
        }
    }

    #[test]
    fn an_empty_text_means_the_defaults() {
        for text in ["", " ", "{}"] {
            assert_eq!(super::read::<Config>(text), Ok(Config::default()), "{text:?}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_allowed_ones() {
        let error = super::read::<Config>(r#"{"fromat":"x"}"#).unwrap_err();
        assert_eq!(error, "unknown field `fromat`, expected `format`");
    }
}
