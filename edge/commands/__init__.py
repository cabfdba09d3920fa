"""Subcommands of edge-run: one a module."""
