//! The flags that every program on pants takes.

use std::path::PathBuf;

use pants_shard::{Config, ConfigError, Flags, OwnKey};

/// Flags that choose and show the configuration. They beat the environment, which beats the file, which beats the defaults.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct CommonFlags {
    /// Where to listen: an address with its port, or a port alone for all interfaces. Repeatable [default: 127.0.0.1:4040]
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<String>,
    /// How many shards, each a thread of its own: a number, or auto for one per CPU [default: auto]
    #[arg(long, value_name = "N|auto")]
    pub shards: Option<String>,
    /// The CPUs to pin the shards to, in order, such as 0,1 or 0-3 [default: all that this process may use]
    #[arg(long, value_name = "LIST")]
    pub cpus: Option<String>,
    /// Leave it to the kernel on which CPU a shard runs
    #[arg(long)]
    pub no_pin: bool,
    /// Listen even if another program has the port, and share its connections
    #[arg(long)]
    pub share_port: bool,
    /// Which shard serves a connection: kernel, cpu, least-connections or rebalance [default: kernel]
    #[arg(long, value_name = "POLICY")]
    pub balance: Option<String>,
    /// Close a connection over which nothing has passed for this long: 30s, 10m, or off [default: 10m]
    #[arg(long, value_name = "TIME|off")]
    pub idle_timeout: Option<String>,
    /// Take the listening sockets over from the process that was started with the same path, if there is one, and leave them
    /// to the next: to restart the program, with nobody refused or reset, start it once more; open connections end in good order [default:
    /// off]
    #[arg(long, value_name = "PATH|off")]
    pub handover: Option<String>,
    /// Serve metrics, health and a live page at this address, such as 127.0.0.1:9090 [default: off]
    #[arg(long, value_name = "ADDR|off")]
    pub admin: Option<String>,
    /// Read the configuration from this file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Check the configuration, and exit
    #[arg(long)]
    pub check: bool,
    /// Print the configuration and where each value comes from, and exit
    #[arg(long, conflicts_with = "check")]
    pub print_config: bool,
}

impl CommonFlags {
    /// The configuration that these flags, the environment and the file make, with keys and flags of the program's own: for each
    /// of these the flag, the path of the key that it sets, and the text.
    ///
    /// # Errors
    ///
    /// If any of them is wrong; the error has a line for each problem.
    pub fn load(
        &self,
        own_keys: &[OwnKey],
        own_flags: Vec<(&'static str, &'static str, String)>,
    ) -> Result<Config, ConfigError> {
        Config::builder().own_keys(own_keys).load_with(&Flags {
            listen: self.listen.clone(),
            shards: self.shards.clone(),
            cpus: self.cpus.clone(),
            no_pin: self.no_pin,
            share_port: self.share_port,
            balance: self.balance.clone(),
            idle_timeout: self.idle_timeout.clone(),
            handover: self.handover.clone(),
            admin: self.admin.clone(),
            own: own_flags,
            config: self.config.clone(),
        })
    }
}
