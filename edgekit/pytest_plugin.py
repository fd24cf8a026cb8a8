"""The pytest plugin: hardware tests on a board that is held for the session, with a release that is put back afterwards.

pytest finds it by its entry point and imports it in every run, so that everything of edgekit is imported where it is used.
A gate that fails fails the test, what is inconclusive or invalid skips it with the reason, and trouble with the board is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from edgekit.bundle import Bundle
    from edgekit.device import Device
    from edgekit.project import Project
    from edgekit.report import Report

__all__ = ["edgekit_bundle", "edgekit_device", "edgekit_report"]

_LEASE_S = 3600.0
"""What a session that is killed leaves the board taken for at most; each job begins it anew."""
_MARK = """\
edgekit(probe="latency", budget={...}, **options): measure the release under test on the device; the test fails with a gate, and is \
skipped where nothing can be concluded. The report is the fixture edgekit_report."""
_REPORT: pytest.StashKey[Report] = pytest.StashKey()
_UNASKED: pytest.StashKey[bool] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the words that name the board and the bundle."""
    group = parser.getgroup("edgekit", "models on boards")
    group.addoption("--edgekit-device", metavar="NAME", help="The board: a name under [devices], a group, user@host, or local.")
    group.addoption("--edgekit-bundle", metavar="PATH", help="Test this bundle instead of building one.")


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", _MARK)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let a marked test be measured, whether or not it asks for the report."""
    if isinstance(item, pytest.Function) and item.get_closest_marker("edgekit") and "edgekit_report" not in item.fixturenames:
        item.fixturenames.append("edgekit_report")
        item.stash[_UNASKED] = True


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Judge a marked test's report before its own words run; a method of a `unittest.TestCase` comes by here, too."""
    report = item.stash.get(_REPORT, None)
    if report is not None:
        _judge(report, asked=_UNASKED not in item.stash)


@pytest.fixture(scope="session")
def edgekit_device(pytestconfig: pytest.Config) -> Iterator[Device]:
    """Yield the board that ``--edgekit-device`` names, held until the session ends."""
    word = pytestconfig.getoption("--edgekit-device")
    if word is None:
        pytest.skip("no board to run on: pytest --edgekit-device NAME")
    with ExitStack() as stack:
        with _told():
            from edgekit.pipeline import silent
            from edgekit.pipeline.hold import candidates, take_one

            project, _ = _project(pytestconfig)
            boards, wait_s = candidates(project, word, None), project.ci.lease_wait_s
            device, _ = take_one(
                boards, stack, reason="hardware tests", for_s=_LEASE_S, wait_s=wait_s, tell=lambda what: None, progress=silent
            )
        yield device


@pytest.fixture(scope="session")
def edgekit_bundle(pytestconfig: pytest.Config, edgekit_device: Device) -> Iterator[Bundle]:
    """Yield the bundle under test, which is the board's current release until the session ends."""
    from edgekit.bundle import open_bundle
    from edgekit.pipeline.deploy import deploy
    from edgekit.pipeline.probation import KEEP_ALL, begin, put_back

    with ExitStack() as stack:
        with _told():
            import msgspec

            project, folder = _project(pytestconfig)
            given = pytestconfig.getoption("--edgekit-bundle")
            bundle = stack.enter_context(open_bundle(Path(given) if given else _build(project, folder, edgekit_device)))
            before = begin(edgekit_device, bundle)
        terms = msgspec.structs.replace(project.deploy, keep=KEEP_ALL)
        try:
            with _told():
                deploy(bundle, edgekit_device, terms=terms, folder=folder, stand_in=project.ci.stand_in)
            yield bundle
        finally:
            with _told():
                put_back(edgekit_device, before)


@pytest.fixture
def edgekit_report(request: pytest.FixtureRequest, edgekit_device: Device, edgekit_bundle: Bundle) -> Report:
    """Return what the probe of the test's mark has found; its figures become properties of the test."""
    mark = request.node.get_closest_marker("edgekit")
    if mark is None:
        pytest.fail('edgekit_report needs a mark: @pytest.mark.edgekit(probe="latency")', pytrace=False)
    with _told():
        from edgekit.parse import into
        from edgekit.pipeline.probe import probe
        from edgekit.runs.junit import figure_words
        from edgekit.target import Budget

        options = dict(mark.kwargs)
        name, budget = options.pop("probe", "latency"), into(options.pop("budget", {}), Budget, "the budget of @pytest.mark.edgekit")
        project, folder = _project(request.config)
        app = edgekit_bundle.manifest.name
        report = probe(edgekit_device, name, project=project, folder=folder, app=app, options=options, budget=budget)
    request.node.user_properties += [(f"{name}.{one.name}", figure_words(one)) for one in report.measurements]
    request.node.stash[_REPORT] = report
    return report


def _project(config: pytest.Config) -> tuple[Project, Path]:
    from edgekit.project import find_project, load_project, project_folder

    found = find_project(config.rootpath)
    return load_project(found), project_folder(found) if found else config.rootpath


def _build(project: Project, folder: Path, device: Device) -> Path:
    from edgekit.errors import InputError
    from edgekit.pipeline.build import build
    from edgekit.pipeline.hold import kind_of
    from edgekit.target import load_target

    if project.model.path is None:
        raise InputError(f"no model under [model] in {folder}", fix="--edgekit-bundle PATH")
    target = load_target(kind_of(project, device))
    return build(project, folder, target, model_path=folder / project.model.path, output=folder / "build").path


def _judge(report: Report, *, asked: bool) -> None:
    from edgekit.report import worst

    said = "\n".join(f"{verdict.name} {verdict.outcome}: {verdict.text}" for verdict in report.verdicts if verdict.outcome != "pass")
    code = worst(report)
    if code == 1:
        pytest.fail(said, pytrace=False)
    if code:
        broken = sorted({str(one.rule) for one in report.measurements if not one.valid})
        pytest.skip(said or f"not valid: {', '.join(broken)}")
    if not report.verdicts and not asked:
        pytest.skip("nothing was judged: give the mark a budget, or let the test judge edgekit_report")


@contextmanager
def _told() -> Iterator[None]:
    """Turn trouble with the board or the project into a short error of the test."""
    from edgekit.errors import EdgekitError

    try:
        yield
    except EdgekitError as error:
        message = f"{error.message}\nfix: {error.fix}" if error.fix else error.message
        raise pytest.fail.Exception(message, pytrace=False) from None
