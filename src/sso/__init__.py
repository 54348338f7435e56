"""Console SSO: single sign-on to the console of a virtual machine."""

__version__ = "0.1.0"
