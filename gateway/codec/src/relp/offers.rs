//! Offers: what the two ends say about themselves when a session is opened.

/// Bytes of `relp_software` that are kept.
const SOFTWARE_BYTES_MAX: usize = 255;
/// Commands that are kept.
const COMMANDS_MAX: usize = 16;
/// The highest version that is spoken.
const VERSION_MAX: u32 = 1;

/// What a peer offers. Features that are not known are passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// `relp_version`: 1, or 0 from librelp, which differ in nothing.
    pub version: Option<u32>,
    /// `relp_software`: name, version, URL, with control characters escaped.
    pub software: String,
    /// `commands`, without those of the protocol itself.
    pub commands: Vec<String>,
}

impl Offers {
    /// Reads `name=value,value` lines.
    pub(super) fn parse(data: &[u8]) -> Self {
        let mut offers = Self::default();
        for line in data.split(|byte| *byte == b'\n') {
            let equals = memchr::memchr(b'=', line).unwrap_or(line.len());
            let (name, rest) = line.split_at(equals);
            let value = rest.get(1..).unwrap_or_default();
            match name {
                b"relp_version" => offers.version = version(value),
                b"relp_software" => {
                    let kept = value.get(..SOFTWARE_BYTES_MAX).unwrap_or(value);
                    offers.software = kept.escape_ascii().to_string();
                }
                b"commands" => {
                    let commands =
                        value.split(|byte| *byte == b',').filter(|name| is_command(name));
                    let commands = commands.map(|name| name.escape_ascii().to_string());
                    offers.commands = commands.take(COMMANDS_MAX).collect();
                }
                _ => {}
            }
        }
        offers
    }

    /// Whether a command is among those offered.
    #[must_use]
    pub fn allows(&self, command: &str) -> bool {
        self.commands.iter().any(|offered| offered == command)
    }

    /// Appends our own offers. `version` is what the other end offered.
    pub(super) fn push_ours(version: u32, out: &mut Vec<u8>) {
        let version = version.min(VERSION_MAX);
        let own = concat!("relp_software=logboom,", env!("CARGO_PKG_VERSION"), "\ncommands=syslog");
        out.extend_from_slice(b"relp_version=");
        super::push_number(u64::from(version), out);
        out.push(b'\n');
        out.extend_from_slice(own.as_bytes());
    }
}

/// The first of the values, as a number of up to nine digits.
fn version(value: &[u8]) -> Option<u32> {
    let first = value.split(|byte| *byte == b',').next()?;
    let is_number = (1..=super::DIGITS_MAX).contains(&first.len());
    let digits = first.iter().all(u8::is_ascii_digit);
    (is_number && digits)
        .then(|| first.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0')))
}

fn is_command(name: &[u8]) -> bool {
    (1..=super::COMMAND_BYTES_MAX).contains(&name.len()) && name.iter().all(u8::is_ascii_alphabetic)
}
