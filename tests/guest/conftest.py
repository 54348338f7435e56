"""Fixtures of the guest's own tests."""

from beds_agent import make_stage

__all__ = ["make_stage"]
