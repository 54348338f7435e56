"""Consoles, connection files and their signatures, and the rule that says who vouches for a console.

A portal or an administrator writes them, and the viewer reads them (docs/connection-file.md).
"""
