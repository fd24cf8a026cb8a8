"""The one place where the version is written; the build backend and the manifest read it."""

__version__ = "0.1.0"
