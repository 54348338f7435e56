"""Reads and changes the configuration files of PAM's services."""
