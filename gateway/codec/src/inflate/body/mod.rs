//! Decompression of what a peer sent, within limits: gzip, deflate, zstd.
//!
//! Everything is decoded: all members of a gzip file, all frames of zstd. What does not end, or has
//! bytes behind its end, is an error. The caller takes the bytes in steps, so that it can find memory
//! for each.

use std::io::{self, BufRead, Read};

use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// Bytes that any body may become, however well it was compressed.
const FREE_BYTES: usize = 1 << 20;
/// Largest window of zstd, as a power of two: 8 MiB. Source: RFC 8878 section 3.1.1.1.2.
const WINDOW_LOG_MAX: u32 = 23;

/// How a body was compressed. Source: RFC 9110 section 8.4.1, RFC 8878.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// gzip, of any number of members.
    Gzip,
    /// zlib, or deflate without a header, which some senders take it for.
    Deflate,
    /// zstd, of any number of frames.
    Zstd,
}

impl Coding {
    /// The coding that `Content-Encoding` names, in any case.
    #[must_use]
    pub fn from_token(token: &str) -> Option<Self> {
        let is = |name: &str| token.trim().eq_ignore_ascii_case(name);
        match () {
            () if is("gzip") || is("x-gzip") => Some(Self::Gzip),
            () if is("deflate") => Some(Self::Deflate),
            () if is("zstd") => Some(Self::Zstd),
            () => None,
        }
    }
}

/// What a body may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes.
    pub bytes_max: usize,
    /// Most bytes for each compressed one, beyond the first MiB.
    pub ratio_max: usize,
}

/// Why a body cannot be decompressed.
#[derive(Debug)]
pub enum InflateError {
    /// It is more than [`Limits`] allow.
    TooLarge,
    /// It is not what it is said to be, or it does not end.
    Broken(io::Error),
    /// There are bytes behind its end.
    Trailing,
}

impl std::fmt::Display for InflateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge => f.write_str("decompressed, it is larger than allowed"),
            Self::Broken(error) => write!(f, "it cannot be decompressed: {error}"),
            Self::Trailing => f.write_str("there are bytes behind the end of what is compressed"),
        }
    }
}

impl std::error::Error for InflateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Broken(error) = self { Some(error) } else { None }
    }
}

/// Decompresses one body.
pub struct Inflate<'a> {
    decoder: Decoder<'a>,
    /// All bytes, as they came.
    body: &'a [u8],
    bytes_max: usize,
}

enum Decoder<'a> {
    Gzip(MultiGzDecoder<&'a [u8]>),
    Zlib(ZlibDecoder<&'a [u8]>),
    Deflate(DeflateDecoder<&'a [u8]>),
    Zstd(Box<zstd::stream::read::Decoder<'a, &'a [u8]>>),
}

impl std::fmt::Debug for Inflate<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflate").field("bytes_max", &self.bytes_max).finish_non_exhaustive()
    }
}

impl<'a> Inflate<'a> {
    /// Begins with a whole body.
    ///
    /// # Errors
    /// [`InflateError::Broken`] if there is no memory for a decoder.
    pub fn new(coding: Coding, body: &'a [u8], limits: Limits) -> Result<Self, InflateError> {
        let decoder = match coding {
            Coding::Gzip => Decoder::Gzip(MultiGzDecoder::new(body)),
            Coding::Deflate if is_zlib(body) => Decoder::Zlib(ZlibDecoder::new(body)),
            Coding::Deflate => Decoder::Deflate(DeflateDecoder::new(body)),
            Coding::Zstd => {
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(body).map_err(InflateError::Broken)?;
                decoder.window_log_max(WINDOW_LOG_MAX).map_err(InflateError::Broken)?;
                Decoder::Zstd(Box::new(decoder))
            }
        };
        let by_ratio = body.len().saturating_mul(limits.ratio_max).max(FREE_BYTES);
        Ok(Self { decoder, body, bytes_max: limits.bytes_max.min(by_ratio) })
    }

    /// Appends up to `bytes` (at least 1) to `out`, which holds nothing but what came before. Returns
    /// whether that was the end.
    ///
    /// # Errors
    /// [`InflateError`]; what is in `out` is of no use then.
    pub fn more(&mut self, out: &mut Vec<u8>, bytes: usize) -> Result<bool, InflateError> {
        let start = out.len();
        // One byte beyond the limit shows that there is more.
        let target = start.saturating_add(bytes.max(1)).min(self.bytes_max.saturating_add(1));
        out.resize(target, 0);
        let mut end = start;
        while let Some(room) = out.get_mut(end..).filter(|room| !room.is_empty()) {
            match self.decoder.read(room) {
                Ok(0) => {
                    out.truncate(end);
                    return self.finish();
                }
                Ok(n) => end += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What looked like a header of zlib may be deflate without one.
                Err(_) if start == 0 && matches!(self.decoder, Decoder::Zlib(_)) => {
                    self.decoder = Decoder::Deflate(DeflateDecoder::new(self.body));
                    end = 0;
                }
                Err(error) => return Err(InflateError::Broken(error)),
            }
        }
        if end > self.bytes_max { Err(InflateError::TooLarge) } else { Ok(false) }
    }

    fn finish(&mut self) -> Result<bool, InflateError> {
        let rest = match &mut self.decoder {
            Decoder::Gzip(decoder) => decoder.get_mut().len(),
            Decoder::Zlib(decoder) => decoder.get_mut().len(),
            Decoder::Deflate(decoder) => decoder.get_mut().len(),
            Decoder::Zstd(decoder) => decoder.get_mut().fill_buf().map_or(0, <[u8]>::len),
        };
        if rest > 0 { Err(InflateError::Trailing) } else { Ok(true) }
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(decoder) => decoder.read(out),
            Self::Zlib(decoder) => decoder.read(out),
            Self::Deflate(decoder) => decoder.read(out),
            Self::Zstd(decoder) => decoder.read(out),
        }
    }
}

/// Whether a body starts as zlib does. Source: RFC 1950 section 2.2.
fn is_zlib(body: &[u8]) -> bool {
    let Some([method, flags]) = body.first_chunk::<2>() else { return false };
    method & 0x0f == 8 && (u16::from(*method) << 8 | u16::from(*flags)) % 31 == 0
}

#[cfg(test)]
mod tests;
