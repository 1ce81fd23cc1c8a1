"""Configurations as values: schema, overrides by dotted key, presets, parsing."""
