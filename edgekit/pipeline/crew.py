"""Who does the work of a roll-out: threads of this process, or `edgekit.pipeline.cluster`. The seam below `edgekit.pipeline.rollout`."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Protocol

from edgekit.bundle import Bundle
from edgekit.device import Device
from edgekit.devices import connect
from edgekit.devices.session import AgentSession
from edgekit.errors import MissingExtraError
from edgekit.lazy import load
from edgekit.pipeline import Progress
from edgekit.pipeline.deploy import Deployed, deploy
from edgekit.pipeline.outcome import Outcome, attempt
from edgekit.pipeline.probation import forget
from edgekit.pipeline.releases import ask_status

__all__ = ["Crew", "Options", "Threads", "crew", "one_board"]

Options = Mapping[str, Any]


class Crew(Protocol):
    """Takes one board after the other; how many at once is the roll-out's to say."""

    def start(self, device: Device, *, name: str, doubt: bool, progress: Progress) -> Future[Outcome]:
        """Begin with a board, by a deployment of that name; one in ``doubt`` is asked first how it stands."""


def one_board(bundle: Bundle, device: Device, options: Options, *, name: str, doubt: bool, progress: Progress) -> Outcome:
    """Bring a bundle to one board; what a lost host had begun there under that name goes on, if it is not decided yet."""

    def work() -> Deployed | None:
        state = _state(bundle, device) if doubt else None
        undecided = state in ("activated", "proven")
        called = None if doubt and not undecided else name
        done = None if state == "committed" else deploy(bundle, device, name=called, progress=progress, **options)
        forget(device, bundle.manifest.name)  # should edgekit ci have been killed while it tried this very release: now it is wanted
        return done

    return attempt(work)


def _state(bundle: Bundle, device: Device) -> str | None:
    """Ask a board how a bundle's release stands there; None where it is not current and whole. Changes nothing."""
    with connect(device) as connection, AgentSession(connection, device) as session:
        apps = ask_status(session, bundle.manifest.name).apps
    return next((app.state for app in apps if app.current == bundle.digest and app.whole), None)


class Threads:
    """A thread for each board that is under way. Connecting is mostly waiting, and what a thread computes lets the others run.

    Daemons, unlike `concurrent.futures.ThreadPoolExecutor`'s: who interrupts a roll-out twice does not wait for a board that hangs.
    """

    def __init__(self, bundle: Bundle, options: Options) -> None:
        self._bundle, self._options = bundle, options

    def start(self, device: Device, *, name: str, doubt: bool, progress: Progress) -> Future[Outcome]:
        """See `Crew.start`."""
        future: Future[Outcome] = Future()

        def run() -> None:
            future.set_result(one_board(self._bundle, device, self._options, name=name, doubt=doubt, progress=progress))

        threading.Thread(target=run, name=f"deploy {device.name}", daemon=True).start()
        return future


@contextmanager
def crew(bundle: Bundle, devices: Sequence[Device], options: Options, scheduler: str | None) -> Iterator[Crew]:
    """Gather who does the work: threads here, or the workers behind a Dask scheduler.

    Parameters
    ----------
    options
        What `edgekit.pipeline.deploy.deploy` takes besides.

    Raises
    ------
    MissingExtraError
        A scheduler is named and Dask is not installed.
    """
    if scheduler is None:
        yield Threads(bundle, options)
        return
    try:
        gather = load("edgekit.pipeline.cluster:gather")
    except MissingExtraError as error:
        raise MissingExtraError(f"--scheduler needs Dask: {error.message}", fix="pip install 'edgekit[cluster]'") from error
    with gather(bundle, devices, options, scheduler) as workers:
        yield workers
