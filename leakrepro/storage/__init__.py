"""Files and their names: paths, content keys, crash-safe writing, provenance log."""

from leakrepro.storage import paths

__all__ = ["paths"]
