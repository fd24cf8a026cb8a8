"""Every error edgekit raises on purpose, and the exit code each one ends in.

::

    EdgekitError                 70  (never raised itself)
    ├── UsageError                2  flags or words that make no sense together
    ├── InputError                3  a model, dataset, config file, bundle or manifest is wrong
    │   └── MissingExtraError     3  the work needs a package that is not installed
    ├── BuildError                4  quantizing, emitting or checking the artifact failed
    ├── DeviceError               5  the board cannot be reached or does not answer as it should
    │   ├── AuthError             5  the board refused our keys
    │   ├── HostKeyError          5  the board's host key is unknown or has changed
    │   └── LinkError             5  the connection broke
    ├── DeployError               6  the release was refused or undone; the old one still runs
    ├── InconsistentError         7  undoing failed; the board needs a person
    ├── BusyError                 9  somebody else holds the board
    └── DeadlineError           124  a step did not end within its time

A verdict (over budget, too few samples) is a value in the report, not an exception.
"""

from __future__ import annotations

__all__ = [
    "AuthError",
    "BuildError",
    "BusyError",
    "DeadlineError",
    "DeployError",
    "DeviceError",
    "EdgekitError",
    "HostKeyError",
    "InconsistentError",
    "InputError",
    "LinkError",
    "MissingExtraError",
    "UsageError",
]


class EdgekitError(Exception):
    """A mistake or a failure that the user can act on.

    Parameters
    ----------
    message
        What went wrong and where: a path with its key, or a device's address.
    fix
        What mends it, best as a command. Shown on its own line.
    """

    exit_code = 70

    def __init__(self, message: str, *, fix: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix


class UsageError(EdgekitError):
    exit_code = 2


class InputError(EdgekitError):
    exit_code = 3


class MissingExtraError(InputError):
    pass


class BuildError(EdgekitError):
    exit_code = 4


class DeviceError(EdgekitError):
    exit_code = 5


class AuthError(DeviceError):
    pass


class HostKeyError(DeviceError):
    pass


class LinkError(DeviceError):
    pass


class DeployError(EdgekitError):
    exit_code = 6


class InconsistentError(EdgekitError):
    exit_code = 7


class BusyError(EdgekitError):
    exit_code = 9


class DeadlineError(EdgekitError):
    exit_code = 124
