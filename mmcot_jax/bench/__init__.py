"""Measures GRPO steps of a config on the devices that are here."""
