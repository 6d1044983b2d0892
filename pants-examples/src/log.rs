//! Where the library's messages go: to standard error, from a level that the environment sets.

pub use tracing_subscriber::filter::LevelFilter;

/// Installs the logger, by default from `default` on: `PANTS_LOG` is off, error, warn, info, debug or trace.
///
/// # Errors
///
/// If `PANTS_LOG` is anything else.
pub fn install(default: LevelFilter) -> Result<(), String> {
    let wanted = std::env::var("PANTS_LOG").unwrap_or_default();
    let level = match wanted.trim() {
        "" => default,
        name => name
            .parse()
            .map_err(|_| format!("PANTS_LOG: must be off, error, warn, info, debug or trace, not {name:?}"))?,
    };
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_ansi(ansi).init();
    Ok(())
}
