"""Named configurations, as TOML."""
