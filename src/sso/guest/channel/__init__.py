"""The process at the port, and its children."""
