//! Where the library's messages go: to standard error, from a level that the environment sets.

pub use tracing_subscriber::filter::LevelFilter;

/// The level that `PANTS_LOG` asks for: off, error, warn, info, debug or trace; if it is not set, `default`.
///
/// # Errors
///
/// If it is anything else.
pub fn level(default: LevelFilter) -> Result<LevelFilter, String> {
    let wanted = std::env::var("PANTS_LOG").unwrap_or_default();
    match wanted.trim() {
        "" => Ok(default),
        name => {
            name.parse().map_err(|_| format!("PANTS_LOG: must be off, error, warn, info, debug or trace, not {name:?}"))
        }
    }
}

/// Installs the logger, from `level` on.
pub fn install(level: LevelFilter) {
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_ansi(ansi).init();
}
