"""What a console is, and who vouches for it; written by a portal or an administrator, read by the viewer.

Here so far: the signed form of a connection file (docs/connection-file.md).
"""
