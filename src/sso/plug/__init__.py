"""Runs a program at a port of the console."""
