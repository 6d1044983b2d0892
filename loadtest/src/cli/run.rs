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
    /// What to load, such as tcp://127.0.0.1:4040
    #[arg(value_name = "tcp://HOST:PORT")]
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
        Ok(Trial { plan: self.load.plan(self.target.clone())?, config: self.load.config()?, server: None })
    }
}
