//! The flags of `run`.

use clap::Args;

use crate::cli::load::LoadArguments;
use crate::cli::output::OutputArguments;
use crate::cli::server::ServerArguments;
use crate::measure::Trial;
use crate::target::Target;

/// The flags of `run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// What to load: tcp://HOST:PORT, http://HOST:PORT/PATH, udp://HOST:PORT, unix:PATH or unixgram:PATH, where a PATH may be
    /// @NAME for an abstract socket
    #[arg(value_name = "TARGET")]
    target: Target,
    #[command(flatten)]
    load: LoadArguments,
    /// The server's process.
    #[command(flatten)]
    pub server: ServerArguments,
    /// Where results go.
    #[command(flatten)]
    pub output: OutputArguments,
}

impl RunArguments {
    /// What is to be measured; the server's process is not looked for.
    ///
    /// # Errors
    ///
    /// What is wrong with the flags, in one line.
    pub fn trial(&self) -> Result<Trial, String> {
        let (plan, config) = (self.load.plan(self.target.clone())?, self.load.config()?);
        plan.check_shards(config.placement().len())?;
        Ok(Trial { plan, config, server: None })
    }
}
