//! Configuration: environment variables, `.env`, or flags of the same names.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, CommandFactory};

const PREFIX: &str = "OMNISTREAM_";
/// Names with our prefix that are not settings of the program itself.
const FOREIGN: [&str; 1] = ["OMNISTREAM_LOG_FORMAT"];

/// Everything has a default that works on a laptop.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Settings")]
pub struct Settings {
    /// PostgreSQL 15 or newer; without it the program runs its own
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, global = true)]
    pub database_url: Option<String>,
    /// Folder of the own PostgreSQL, files and generated secrets [default: /var/lib/omnistream as root, else the
    /// user's data folder]
    #[arg(long, env = "OMNISTREAM_DATA_DIR", global = true)]
    pub data_dir: Option<PathBuf>,
    /// Public address; port 0 picks one and prints it
    #[arg(long, env = "OMNISTREAM_LISTEN", default_value = "127.0.0.1:8080", global = true)]
    pub listen: SocketAddr,
    /// Address of /metrics and /ready for operators; port 0 picks one
    #[arg(long, env = "OMNISTREAM_OPERATOR_LISTEN", default_value = "127.0.0.1:9090", global = true)]
    pub operator_listen: SocketAddr,
    /// Used in webhook, media and invoice links [default: from the public address]
    #[arg(long, env = "OMNISTREAM_PUBLIC_URL", global = true)]
    pub public_url: Option<String>,
    /// Signs sessions and seals secrets, at least 32 bytes [default: generated once into the data folder]
    #[arg(long, env = "OMNISTREAM_SECRET_KEY", hide_env_values = true, global = true)]
    pub secret_key: Option<String>,
    /// First super-admin, made at start if there is none
    #[arg(long, env = "OMNISTREAM_SUPER_ADMIN_EMAIL", global = true)]
    pub super_admin_email: Option<String>,
    #[arg(long, env = "OMNISTREAM_SUPER_ADMIN_PASSWORD", hide_env_values = true, global = true)]
    pub super_admin_password: Option<String>,
    /// Number of logs, at the first migration
    #[arg(long, env = "OMNISTREAM_LOGS", default_value_t = 4, value_parser = clap::value_parser!(i16).range(1..=64), global = true)]
    pub logs: i16,
    /// Requests per caller and minute, 0 = off; login has its own stricter limit
    #[arg(long, env = "OMNISTREAM_RATE_LIMIT_PER_MINUTE", default_value_t = 600, global = true)]
    pub rate_limit_per_minute: u32,
    /// Lets webhooks and fetches reach private addresses (development, tests)
    #[arg(long, env = "OMNISTREAM_ALLOW_PRIVATE_ADDRESSES", default_value_t = false, action = clap::ArgAction::Set, global = true)]
    pub allow_private_addresses: bool,
    /// Multiplies the retry delays of webhooks and automation
    #[arg(long, env = "OMNISTREAM_RETRY_SCALE", default_value_t = 1.0, global = true)]
    pub retry_scale: f64,
    /// For tests: a file with seconds to add to the program's clock, read again each second
    #[arg(long, env = "OMNISTREAM_CLOCK_OFFSET_FILE", global = true)]
    pub clock_offset_file: Option<PathBuf>,
    /// Origins whose pages may call the API from a browser, comma-separated
    #[arg(long, env = "OMNISTREAM_CORS_ORIGINS", value_delimiter = ',', global = true)]
    pub cors_origins: Vec<String>,
    /// Proxies whose X-Forwarded-For is believed, comma-separated
    #[arg(long, env = "OMNISTREAM_TRUSTED_PROXIES", value_delimiter = ',', global = true)]
    pub trusted_proxies: Vec<IpAddr>,
    #[command(flatten)]
    pub meta: Meta,
    #[command(flatten)]
    pub payments: Payments,
}

/// Fallbacks where an account has none of its own.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Meta")]
pub struct Meta {
    /// Graph API
    #[arg(long, env = "META_API_URL", default_value = "https://graph.facebook.com/v21.0", global = true)]
    pub meta_api_url: String,
    #[arg(long, env = "META_APP_SECRET", hide_env_values = true, global = true)]
    pub meta_app_secret: Option<String>,
    #[arg(long, env = "META_VERIFY_TOKEN", hide_env_values = true, global = true)]
    pub meta_verify_token: Option<String>,
    #[arg(long, env = "META_ACCESS_TOKEN", hide_env_values = true, global = true)]
    pub meta_access_token: Option<String>,
    #[arg(long, env = "META_PHONE_NUMBER_ID", global = true)]
    pub meta_phone_number_id: Option<String>,
    #[arg(long, env = "META_WABA_ID", global = true)]
    pub meta_waba_id: Option<String>,
}

/// Who is paid, and through whom. A gateway is used once its secret key is set; until then payments are recorded by hand.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Payments")]
pub struct Payments {
    /// Name of the seller on invoices
    #[arg(long, env = "BILLING_SELLER_NAME", default_value = "OmniStream", global = true)]
    pub billing_seller_name: String,
    /// Address of the seller on invoices, lines separated by semicolons
    #[arg(long, env = "BILLING_SELLER_ADDRESS", value_delimiter = ';', global = true)]
    pub billing_seller_address: Vec<String>,
    /// Tax number of the seller as it is to stand on invoices, such as "NPWP 01.234.567.8-901.000"
    #[arg(long, env = "BILLING_SELLER_TAX_ID", global = true)]
    pub billing_seller_tax_id: Option<String>,
    /// Email address of the seller on invoices
    #[arg(long, env = "BILLING_SELLER_EMAIL", global = true)]
    pub billing_seller_email: Option<String>,
    /// Stripe's API
    #[arg(long, env = "STRIPE_API_URL", default_value = "https://api.stripe.com", global = true)]
    pub stripe_api_url: String,
    #[arg(long, env = "STRIPE_SECRET_KEY", hide_env_values = true, global = true)]
    pub stripe_secret_key: Option<String>,
    /// Signing secret of the endpoint /webhook/payments/stripe; without it nothing that arrives there is believed
    #[arg(long, env = "STRIPE_WEBHOOK_SECRET", hide_env_values = true, global = true)]
    pub stripe_webhook_secret: Option<String>,
    /// Xendit's API
    #[arg(long, env = "XENDIT_API_URL", default_value = "https://api.xendit.co", global = true)]
    pub xendit_api_url: String,
    #[arg(long, env = "XENDIT_SECRET_KEY", hide_env_values = true, global = true)]
    pub xendit_secret_key: Option<String>,
    /// Verification token of /webhook/payments/xendit; without it nothing that arrives there is believed
    #[arg(long, env = "XENDIT_CALLBACK_TOKEN", hide_env_values = true, global = true)]
    pub xendit_callback_token: Option<String>,
}

/// Names in the environment that look like settings and are none: a typo must not be silently ignored.
#[must_use]
pub fn unknown_names<C: CommandFactory>() -> Vec<String> {
    let command = C::command();
    let known: Vec<String> = command
        .get_arguments()
        .filter_map(|arg| Some(arg.get_env()?.to_string_lossy().into_owned()))
        .collect();
    std::env::vars_os()
        .map(|(name, _)| name.to_string_lossy().into_owned())
        .filter(|name| name.starts_with(PREFIX) && !known.contains(name) && !FOREIGN.contains(&name.as_str()))
        .collect()
}
