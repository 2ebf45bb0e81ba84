"""Executes one job: a model under one framework, measured. See ``runners/README.md``."""

__version__ = "0.1.0"
