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

__all__ = ["Crew", "Options", "Threads", "crew", "has_release", "one_board"]

Options = Mapping[str, Any]


class Crew(Protocol):
    """Takes one board after the other; how many at once is the roll-out's to say."""

    def start(self, device: Device, *, doubt: bool, progress: Progress) -> Future[Outcome]:
        """Begin with a board; one in ``doubt`` is asked first whether it has the release."""


def one_board(bundle: Bundle, device: Device, options: Options, *, doubt: bool, progress: Progress) -> Outcome:
    """Bring a bundle to one board."""

    def work() -> Deployed | None:
        done = None if doubt and has_release(bundle, device) else deploy(bundle, device, progress=progress, **options)
        forget(device, bundle.manifest.name)  # should edgekit ci have been killed while it tried this very release: now it is wanted
        return done

    return attempt(work)


def has_release(bundle: Bundle, device: Device) -> bool:
    """Ask a board whether it runs a bundle's release, whole and proven; changes nothing there."""
    with connect(device) as connection, AgentSession(connection, device) as session:
        apps = ask_status(session, bundle.manifest.name).apps
    return any(app.current == bundle.digest and app.whole and app.state == "committed" for app in apps)


class Threads:
    """A thread for each board that is under way. Connecting is mostly waiting, and what a thread computes lets the others run.

    Daemons, unlike `concurrent.futures.ThreadPoolExecutor`'s: who interrupts a roll-out twice does not wait for a board that hangs.
    """

    def __init__(self, bundle: Bundle, options: Options) -> None:
        self._bundle, self._options = bundle, options

    def start(self, device: Device, *, doubt: bool, progress: Progress) -> Future[Outcome]:
        """See `Crew.start`."""
        future: Future[Outcome] = Future()

        def run() -> None:
            future.set_result(one_board(self._bundle, device, self._options, doubt=doubt, progress=progress))

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
