"""Ports: reading and writing bytes, watching for changes, and the loop that drives a conversation."""
