"""A roll-out by the workers of a Dask scheduler, each for the boards of its site. Loaded by `edgekit.pipeline.crew` for ``--scheduler``.

The same operation on each board as by threads; the bundle travels to the workers, which need no common file system. A worker reaches
its boards with the ssh_config and the keys of its own user. When one dies, the scheduler gives its boards to others of that site, and
the lease on each board keeps two workers from being at one at once.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import distributed
import msgspec

from edgekit._version import __version__
from edgekit.bundle import Bundle, open_bundle
from edgekit.device import Device
from edgekit.errors import DeviceError, InputError, UsageError
from edgekit.health import HOOKS
from edgekit.pipeline import Progress, silent
from edgekit.pipeline.crew import Options, one_board
from edgekit.pipeline.hooks import declare
from edgekit.pipeline.outcome import Outcome

__all__ = ["Cluster", "gather", "resource"]

_CONNECT_S = 20
_LOOK_S = 5.0
_ABSENT_S = 60.0
"""A site without a worker for so long is given up: one that restarts is back by then."""


def resource(site: str) -> str:
    """Return what a site's workers are started with: ``dask worker ADDRESS --resources "site:NAME=8"``, for 8 boards at once."""
    return f"site:{site}"


class _Files(msgspec.Struct, frozen=True):
    """What a deployment reads on the host besides the bundle: whose signatures count, and the programs of this project's own hooks."""

    signers: bytes | None
    programs: dict[str, bytes]


def _files(options: Options) -> _Files:
    signers = options["allowed_signers"]
    programs = declare(options["terms"], options["folder"]).files
    return _Files(signers.read_bytes() if signers else None, {path.removeprefix(f"{HOOKS}/"): data for path, data in programs.items()})


def _there(digest: str, data: bytes, files: _Files, device: Device, options: Options, name: str, doubt: bool) -> Outcome:
    """Do one board's work on a worker; the bundle is checked as one that came from anywhere."""
    with tempfile.TemporaryDirectory(prefix="edgekit-worker-") as scratch:
        path, allowed, folder = Path(scratch) / "sent.edge", Path(scratch) / "allowed_signers", Path(scratch) / "project"
        path.write_bytes(data)
        folder.mkdir()
        for place, program in files.programs.items():
            (folder / place).write_bytes(program)
        if files.signers is not None:
            allowed.write_bytes(files.signers)
        options = {**options, "folder": folder, "allowed_signers": allowed if files.signers is not None else None}
        with open_bundle(path) as bundle:
            if bundle.digest != digest:
                raise InputError(f"the bundle that came to this worker is {bundle.digest[:12]}, not {digest[:12]}")
            return one_board(bundle, device, options, name=name, doubt=doubt, progress=silent)


def _sent(data: bytes) -> bytes:
    return data


def _at(site: str | None) -> dict[str, Any]:
    return {"resources": {resource(site): 1} if site else None, "pure": False}


def _release() -> str:
    return __version__


class Cluster:
    """See `edgekit.pipeline.crew.Crew`."""

    def __init__(self, client: Any, digest: str, data: bytes, options: Options, sites: Collection[str | None]) -> None:
        self._client, self._digest = client, digest
        self._files = _files(options)
        self._options = {**options, "folder": None, "allowed_signers": None}  # paths of this host mean nothing elsewhere
        # A task of its own at each site: the scheduler can make it again when a worker that has it dies (what is scattered it cannot, and
        # its memory manager keeps one copy of it), and sites need not reach each other.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": f"{len(data) + (1 << 20)} B"}):
            self._data = {site: client.submit(_sent, data, **_at(site), key=f"bundle-{site}-{time.time_ns()}") for site in sites}
        self._waiting: dict[Future[Outcome], tuple[str | None, Any]] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._look, name="edgekit workers", daemon=True)
        self._watch.start()

    def start(self, device: Device, *, name: str, doubt: bool, progress: Progress) -> Future[Outcome]:
        """See `edgekit.pipeline.crew.Crew.start`; how far a board is stays with its worker."""
        future: Future[Outcome] = Future()
        arguments = (self._digest, self._data[device.site], self._files, device, self._options, name, doubt)
        task = self._client.submit(_there, *arguments, **_at(device.site), key=f"{device.name}-{time.time_ns()}")
        with self._lock:
            self._waiting[future] = (device.site, task)
        task.add_done_callback(lambda done: self._take(future, device, done))
        return future

    def _take(self, future: Future[Outcome], device: Device, task: Any) -> None:
        with self._lock:
            known = self._waiting.pop(future, None)
        if known is None:
            return
        try:
            future.set_result(task.result())
        except Exception as error:  # noqa: BLE001  # the scheduler's word for a task that was lost, cancelled, or whose workers all died
            text = f"{device.address}: the cluster did not bring it to an end: {type(error).__name__}: {error}"
            future.set_exception(DeviceError(text, fix="look at the workers' logs, then go on with --resume"))

    def _look(self) -> None:
        """Give up the boards of a site that has had no worker for a while: the scheduler would wait for ever."""
        absent_s: dict[str | None, float] = {}
        while not self._ended.wait(_LOOK_S):
            here = _sites(self._client)
            with self._lock:
                wanted = {site for site, _ in self._waiting.values()}
            for site in wanted:
                absent_s[site] = 0.0 if (site in here if site else here) else absent_s.get(site, 0.0) + _LOOK_S
            with self._lock:
                lost = [(future, task) for future, (site, task) in self._waiting.items() if absent_s.get(site, 0.0) > _ABSENT_S]
                for future, _ in lost:
                    del self._waiting[future]
            for future, task in lost:
                task.cancel()
                future.set_exception(DeviceError("no worker of its site is left", fix="start one, then go on with --resume"))

    def close(self) -> None:
        """Stop watching."""
        self._ended.set()
        self._watch.join()


def _sites(client: Any) -> set[str | None]:
    """Return the sites that have a worker; None stands for any worker at all."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    found: set[str | None] = {name.partition(":")[2] for worker in workers for name in worker["resources"] if name.startswith("site:")}
    return found | ({None} if workers else set())


@contextmanager
def gather(bundle: Bundle, devices: Sequence[Device], options: Options, scheduler: str) -> Iterator[Cluster]:
    """Connect to a scheduler whose workers can reach all the sites.

    Raises
    ------
    InputError
        No scheduler answers there, or its workers run another release of edgekit.
    UsageError
        A site has no worker, or the bundle is no file.
    """
    if bundle.archive is None:
        raise UsageError(f"{bundle.folder}: a folder cannot be sent to the workers", fix="name the .edge file with --bundle")
    try:
        client = distributed.Client(scheduler, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Dask scheduler answers at {scheduler}: {error}", fix="dask scheduler starts one and prints its address"
        ) from error
    with client:
        here = _sites(client)
        for device in devices:
            if device.site not in here:
                site = device.site or "any site"
                raise UsageError(
                    f"no worker of {site} is there for {device.name}", fix="start one where that board is reached (docs/fleet.md)"
                )
        releases = client.run(_release)
        for worker, release in releases.items():
            if release != __version__:
                raise InputError(
                    f"the worker {worker} runs edgekit {release}, this is {__version__}", fix="install the same release everywhere"
                )
        cluster = Cluster(client, bundle.digest, bundle.archive.read_bytes(), options, {device.site for device in devices})
        try:
            yield cluster
        finally:
            cluster.close()
