"""The sandbox in which libpam reads a service's file."""

from beds_pam import guest

__all__ = ["guest"]
