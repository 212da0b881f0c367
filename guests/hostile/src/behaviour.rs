//! What there is to misbehave with.

/// A way to break the contract. In configurations they are written in kebab-case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Behaviour {
    /// Takes memory until there is none.
    Allocate,
    /// A change of a column that cannot be changed.
    BadColumn,
    /// A field id that was never interned.
    BadField,
    /// A field of a kind that does not exist.
    BadKind,
    /// A reason that the manifest does not have.
    BadReason,
    /// A route that the manifest does not have.
    BadRoute,
    /// A series that was never interned.
    BadSeries,
    /// A severity above 7.
    BadSeverity,
    /// An error text that is not UTF-8.
    BadUtf8,
    /// An error for every batch.
    Error,
    /// A hundred thousand new field names with every batch, each given to a record.
    FloodFields,
    /// A hundred thousand lines in the log with every batch.
    FloodLog,
    /// A hundred thousand new series with every batch.
    FloodSeries,
    /// A list that is said to have 4 GiB.
    Huge,
    /// A list as large as memory allows, with rows that are correct.
    HugeList,
    /// Too few verdicts; a torn table of edits; fewer values than series.
    LieCount,
    /// Too many verdicts.
    LieCountMany,
    /// A span outside of its arena.
    LieFieldSpan,
    /// Names and reasons in the manifest that break every rule for them.
    LieManifest,
    /// A record that does not exist.
    LieRecordIndex,
    /// Tables that are not sorted by record.
    LieUnsorted,
    /// An error text of five megabytes.
    LongError,
    /// Correct behaviour.
    #[default]
    None,
    /// A panic in `describe`.
    PanicDescribe,
    /// Recursion without an end.
    Recurse,
    /// An error in `describe`.
    Refuse,
    /// A loop without an end.
    Spin,
    /// A loop without an end in `describe`.
    SpinDescribe,
    /// A loop without an end when a record has `POISON` in its body.
    SpinOnMarker,
    /// A panic at one body in a thousand: where its 64-bit FNV-1a hash is a multiple of 1000.
    TrapEvery,
    /// A panic when a record has `POISON` in its body.
    TrapOnMarker,
    /// The same as `wasi-env`.
    WasiCall,
    /// Reads the clock.
    WasiClock,
    /// Reads the environment.
    WasiEnv,
    /// Ends the process.
    WasiExit,
    /// Reads a file.
    WasiFile,
    /// Prints.
    WasiPrint,
}
