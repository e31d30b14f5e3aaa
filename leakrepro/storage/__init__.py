"""Bytes and names: where files lie, how they are written, what names them."""

from leakrepro.storage import paths

__all__ = ["paths"]
