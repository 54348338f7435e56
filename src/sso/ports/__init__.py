"""Ports: bytes, edges and time."""
