"""Profile an inference stack once, honestly; then ask what a fleet of it would do."""

__version__ = "0.1.0"
