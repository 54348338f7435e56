"""The files of PAM's services."""
