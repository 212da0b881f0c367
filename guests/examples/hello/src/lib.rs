//! An example for authors: finds greetings, notes whom they greet, and counts them.
//!
//! It has two roles. As a *parser* it adds the field `greeted` to each record whose body says
//! `hello NAME`; as a *meter* it counts greetings by app. Try it:
//!
//! ```toml
//! [[guest]]
//! name = "hello"
//! path = "guest_hello.wasm"
//! config = { word = "hello" }
//! ```

use logboom_guest::{
    Batch, Edits, FieldId, Guest, Interest, Manifest, Meter, Metric, Parser, SeriesCache, Updates,
    config,
};
use memchr::memmem::Finder;

/// What the guest keeps between batches. It lives as long as its instance.
#[derive(Debug)]
pub struct Hello {
    greeting: Finder<'static>,
    greeted: FieldId,
    by_app: SeriesCache,
}

/// What the operator may configure. Unknown keys are refused, and the message names the known ones.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    word: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { word: "hello".to_owned() }
    }
}

impl Guest for Hello {
    fn describe(config: &str) -> Result<(Self, Manifest), String> {
        let Config { word } = config::read(config)?;
        if word.is_empty() {
            return Err("word is empty; a text is needed".to_owned());
        }
        let greeting = format!("{word} ");

        // Only records with the greeting in their body are handed over. All others are none of our
        // business and cost next to nothing.
        let interest = Interest::all().literals(&[&greeting]);
        let mut manifest = Manifest::new("hello", env!("CARGO_PKG_VERSION")).interest(interest);

        // Ask for ids once, here, and not for each record.
        let metric = Metric::counter("greetings_total", "Greetings seen.").label("app");
        let by_app = SeriesCache::new(manifest.add_metric(metric));
        let greeted = FieldId::intern("greeted");

        let greeting = Finder::new(&greeting).into_owned();
        Ok((Self { greeting, greeted, by_app }, manifest))
    }
}

impl Hello {
    /// The name behind the greeting.
    fn name<'a>(&self, body: &'a [u8]) -> Option<&'a [u8]> {
        let start = self.greeting.find(body)? + self.greeting.needle().len();
        let rest = body.get(start..)?;
        let end = rest.iter().position(|byte| !byte.is_ascii_alphanumeric());
        rest.get(..end.unwrap_or(rest.len())).filter(|name| !name.is_empty())
    }
}

impl Parser for Hello {
    fn parse(&mut self, batch: &Batch<'_>, edits: &mut Edits<'_>) -> Result<(), String> {
        for record in batch.records() {
            // A record that is not understood is left alone.
            if let Some(name) = self.name(record.body()) {
                // The name is a part of the batch, so nothing is copied.
                edits.text(&record, self.greeted, name);
            }
        }
        Ok(())
    }
}

impl Meter for Hello {
    fn measure(&mut self, batch: &Batch<'_>, updates: &mut Updates) -> Result<(), String> {
        for record in batch.records() {
            if self.name(record.body()).is_some() {
                // Sums are made here; one number a series crosses with each batch.
                updates.add(self.by_app.get(&[record.app()]), 1.0);
            }
        }
        Ok(())
    }
}

// Makes the component. In a native build, as for the tests below, it does nothing.
logboom_guest::export!(Hello: parser + meter);

#[cfg(test)]
mod tests {
    use super::*;
    use logboom_guest::testkit::{Inputs, Trial};

    #[test]
    fn greetings_are_noted_and_counted() {
        let mut trial = Trial::<Hello>::start("").unwrap();
        let inputs = Inputs::new([("web", "hello world!"), ("web", "goodbye"), ("web", "hello !")]);
        let parsed = trial.parse(&inputs).unwrap();
        assert_eq!(parsed[0].field("greeted"), Some(&"world".into()));
        assert!(parsed[1].is_untouched() && parsed[2].is_untouched());
        trial.measure(&inputs).unwrap();
        assert_eq!(trial.value("greetings_total", &["web"]), Some(1.0));
    }

    #[test]
    fn the_word_is_configurable() {
        let mut trial = Trial::<Hello>::start(r#"{"word":"ciao"}"#).unwrap();
        let parsed = trial.parse(&Inputs::new(["ciao bella", "hello world"])).unwrap();
        assert_eq!(parsed[0].field("greeted"), Some(&"bella".into()));
        assert!(parsed[1].is_untouched());
        assert_eq!(
            Trial::<Hello>::start(r#"{"world":"x"}"#).unwrap_err(),
            "unknown field `world`, expected `word`"
        );
    }
}
