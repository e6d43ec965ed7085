"""The plugin host: hook specifications, specs, and the loader."""
