"""A program at a port of the console."""
