"""The whole line for onnxruntime: the demo built for an x86-64 edge box, deployed, checked and probed on this machine."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from edgekit.bundle import open_bundle
from tests.integration.command import Said, edgekit
from tests.integration.test_line import copy_demo

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the target is an x86-64 machine")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's project, with this machine as the box."""
    folder = tmp_path_factory.mktemp("box")
    return copy_demo(folder / "demo", f'\n[devices.box]\naddress = "local"\nroot = "{folder}/root"\ntarget = "edge-x86"\n')


@pytest.fixture(scope="module")
def built(project: Path) -> Said:
    said = edgekit("build", "--target", "edge-x86", "--json", cwd=project)
    assert said.code == 0, said
    return said


def figures(said: Said) -> dict[str, float]:
    return {entry["name"]: entry["value"] for entry in said.document["report"]["measurements"]}


def test_the_build_proves_itself(built: Said) -> None:
    found = figures(built)
    assert found["disagreement"] < 0.02
    assert found["output_sqnr"] > 25
    with open_bundle(Path(built.document["bundle"])) as bundle:
        manifest = bundle.manifest
        assert (manifest.runtime, manifest.artifact, manifest.layouts) == (
            "onnxruntime",
            "model.onnx",
            {"image": "as-is", "digits": "as-is"},
        )
        assert {spec.dtype for spec in (*manifest.inputs, *manifest.outputs)} == {"float32"}


def test_it_is_deployed_and_measured(project: Path, built: Said) -> None:
    deployed = edgekit("deploy", "box", "--json", cwd=project)
    assert deployed.code == 0, deployed
    assert deployed.document["golden"]["max_diff"] == 0
    assert edgekit("status", "box", "--json", cwd=project).document["apps"][0]["whole"] is True

    accuracy = edgekit("probe", "accuracy", "box", "--json", cwd=project)
    assert accuracy.code == 0, accuracy
    host = figures(built)
    assert {name: value for name, value in figures(accuracy).items() if name in ("top1_artifact", "disagreement")} == {
        name: host[name] for name in ("top1_artifact", "disagreement")
    }

    # A busy machine makes the run invalid (8).
    latency = edgekit("probe", "latency", "box", "--min-time", "0.3", "--min-count", "100", "--json", cwd=project)
    assert latency.code in (0, 8), latency
    assert figures(latency)["invoke_p50"] > 0
    assert latency.document["report"]["environment"]["runtime"].startswith("onnxruntime")


def test_a_border_that_the_runtime_has_not_is_refused(project: Path) -> None:
    other = project.parent / "other"
    copy_demo(other, '\n[build]\nio_dtype = "int8"\n')
    edgekit("build", "--target", "edge-x86", cwd=other).refused(4, "take and give what the float model does", "leave io_dtype")
