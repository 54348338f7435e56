"""The sandbox of the PAM module's tests."""

from beds_pam import guest

__all__ = ["guest"]
