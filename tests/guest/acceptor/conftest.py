"""The acceptor's bed for all tests of this folder."""

from beds_acceptor import make_bed

__all__ = ["make_bed"]
