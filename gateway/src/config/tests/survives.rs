//! Text that nobody meant: it is refused, never a panic, and never slow.

use super::*;

/// A small generator (xorshift64*), so that a failure is repeated by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let value = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
        usize::try_from(value).unwrap() % limit.max(1)
    }
}

const SEEDS: [&str; 3] = [
    Config::EMBEDDED,
    include_str!("every_key.toml"),
    include_str!("../../../../docs/book/configuration.md"),
];

const PIECES: [&str; 44] = [
    "\"",
    "'",
    "\"\"\"",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ".",
    ",",
    "\n",
    "\r",
    "#",
    "\\",
    "\u{0}",
    "\u{feff}",
    "é",
    "💥",
    "${env:",
    "}",
    "name",
    "url",
    "syslog+tcp://",
    "file:",
    "%",
    "-1",
    "99999999999999999999",
    "1979-05-27",
    "nan",
    "config",
    "https://",
    "relp://",
    "syslog+udp://h?max_bytes=",
    "@",
    "?",
    "&",
    "/",
    "gzip=",
    "10.0.0.0/8",
    "false",
    "'disk'",
    "'spool'",
];

/// Changes a text here and there.
fn mutate(seed: &str, random: &mut Random) -> String {
    let mut letters: Vec<char> = seed.chars().collect();
    for _ in 0..=random.below(6) {
        let at = random.below(letters.len() + 1);
        let end = (at + random.below(20)).min(letters.len());
        match random.below(4) {
            0 => drop(letters.drain(at..end)),
            1 => {
                let from = random.below(letters.len());
                let until = (from + random.below(40)).min(letters.len());
                let copied: Vec<char> = letters[from..until].to_vec();
                drop(letters.splice(at..at, copied));
            }
            2 => letters.truncate(at),
            _ => {
                let piece = PIECES[random.below(PIECES.len())];
                drop(letters.splice(at..end, piece.chars()));
            }
        }
    }
    letters.into_iter().collect()
}

/// Whatever is refused is refused with at least one problem, whose places are in the text and in
/// order, and without the secret.
fn check(text: &str) {
    let Err(problems) = parse(text) else { return };
    assert!(!problems.list().is_empty());
    assert!(problems.list().is_sorted_by_key(|problem| problem.place));
    let lines: Vec<&str> = text.strip_prefix('\u{feff}').unwrap_or(text).split('\n').collect();
    for problem in problems.list() {
        let (line, column) = problem.place.unwrap();
        let width = lines[line - 1].chars().count();
        assert!((1..=width + 1).contains(&column), "{problems}\n{text}");
    }
    // What a mutation has moved to where no secret can be is none.
    let is_secret = |line: &&str| {
        let parts = line.split_once("hunter2");
        parts.is_none_or(|(before, after)| {
            before.starts_with("url") && before.contains("://") && after.contains('@')
        })
    };
    assert!(
        !problems.to_string().contains("hunter2") || !lines.iter().all(is_secret),
        "{problems}"
    );
}

/// What a request begins with can stand in a request, and credentials are in nothing that is shown.
fn target_is_whole(url: &DestinationUrl) {
    let DestinationKind::Http(http) = &url.kind else { panic!("{url}") };
    let target = &http.path_and_query;
    assert!(target.starts_with('/') && target.bytes().all(|byte| byte.is_ascii_graphic()), "{url}");
    assert!(!format!("{url} {url:?}").contains("hunter2"), "{url}");
    let again = url.canonical.split('#').next().unwrap();
    let DestinationKind::Http(again) = DestinationUrl::parse(again).unwrap().kind else {
        panic!("{url}")
    };
    assert_eq!(again, HttpDestination { credentials: None, ..http.clone() });
}

#[test]
fn mutated_files_never_panic() {
    for seed in 1..=2000u64 {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let text = mutate(SEEDS[random.below(SEEDS.len())], &mut random);
        if std::panic::catch_unwind(|| check(&text)).is_err() {
            panic!("seed {seed}\n{text}");
        }
    }
}

#[test]
fn arbitrary_text_never_panics() {
    for seed in 1..=4000u64 {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let pieces = (0..random.below(40)).map(|_| PIECES[random.below(PIECES.len())]);
        let text: String = pieces.collect();
        check(&text);
        for url in [text.as_str(), &format!("syslog://{text}"), &format!("file:{text}")] {
            assert!(DestinationUrl::parse(url).is_err() || !url.contains(['\n', '#', '\0']));
            assert!(SourceUrl::parse(url).is_err());
        }
        for url in [&format!("https://{text}"), &format!("http://u:hunter2@{text}")] {
            match DestinationUrl::parse(url) {
                Ok(parsed) => target_is_whole(&parsed),
                Err(error) => assert!(!error.to_string().contains("hunter2"), "{error}"),
            }
        }
        if let Ok(network) = Cidr::parse(&text) {
            assert_eq!(Cidr::parse(&network.to_string()), Ok(network));
        }
        if let Ok(endpoints) = Endpoints::parse(&text) {
            assert_eq!(Endpoints::parse(&endpoints.to_string()), Ok(endpoints));
        }
        let read_back = AppTemplate::parse(&text).map(|template| template.parts().len());
        assert!(read_back.is_err() || !text.is_empty());
    }
}

#[test]
fn nesting_is_refused_before_it_costs_the_stack() {
    for (open, close) in [("[", ""), ("{a=", ""), ("a.", "b=1"), ("[a.", "b]")] {
        for depth in [79, 81, 100_000] {
            let prefix = if open.starts_with(['[', '{']) && close.is_empty() { "x=" } else { "" };
            check(&format!("{prefix}{}{close}", open.repeat(depth)));
            check(&format!("[[guest]]\nconfig.{}{close}", open.repeat(depth)));
        }
    }
    let deep = format!("[[guest]]\nname='g'\nuse='std:json'\nconfig{}=1", ".a".repeat(200));
    assert_eq!(
        parse(&deep).unwrap_err().to_string(),
        "logboom.toml:4:409: not TOML: recursion limit"
    );
}

#[test]
fn many_drains_are_checked_in_one_pass() {
    use std::fmt::Write;
    let mut text = String::new();
    for index in 0..20_000 {
        writeln!(text, "[[drain]]\napp = \"a{index}\"\nurl = \"syslog://h{index}\"").unwrap();
    }
    let config = valid(&text);
    assert_eq!(config.drains.len(), 20_000);
    assert_eq!(config.drains[19_999].destination.canonical, "syslog+tcp://h19999:514");
}
