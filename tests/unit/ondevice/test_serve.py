"""The service over HTTP on loopback, in a process of its own as a board runs it."""

from __future__ import annotations

import io
import json
import threading
from http.client import HTTPConnection

import pytest

from .conftest import Agent
from .served import ask, deploy, install, serving

np = pytest.importorskip("numpy")

IMAGE = np.full((2, 2, 3), 4, np.uint8)
SAMPLE = json.dumps(IMAGE.tolist()).encode()


def npy(array: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_a_model_is_served(agent: Agent) -> None:
    install(agent)
    release = deploy(agent, 3)
    with serving(agent) as port:
        good = {"app": "meter", "release": release, "scores": [2.5, 2.0]}
        assert ask(port, "POST", "/predict", SAMPLE) == (200, good)
        assert ask(port, "POST", "/predict", npy(IMAGE), "application/x-npy") == (200, good)
        assert ask(port, "POST", "/predict", json.dumps({"image": IMAGE.tolist()}).encode()) == (200, good)
        code, health = ask(port, "GET", "/health")
        assert (code, health["status"], health["release"]) == (200, "ok", release)
        assert health["runtime"] == {"name": "ai-edge-litert", "version": "2.3.0"}
        assert health["agent"] == str(agent.command[1])
        code, text = ask(port, "GET", "/metrics")
        assert 'edgekit_http_requests_total{path="/predict",code="200"} 3' in text
        assert "edgekit_predict_duration_seconds_count 3" in text
        assert "edgekit_ready 1" in text
        assert f'edgekit_release_info{{app="meter",release="{release}",runtime="ai-edge-litert",runtime_version="2.3.0"}} 1' in text


def test_no_request_fails_across_switches(agent: Agent) -> None:
    install(agent)
    releases = {deploy(agent, number): number for number in (2, 1)}
    seen: list[tuple[str, list[float]]] = []
    failed: list[object] = []
    ended = threading.Event()

    def client(port: int) -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        while not ended.is_set():
            connection.request("POST", "/predict", SAMPLE, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            data = json.loads(answer.read())
            if answer.status != 200:
                failed.append(data)
                break
            seen.append((data["release"], data["scores"]))
        connection.close()

    with serving(agent) as port:
        threads = [threading.Thread(target=client, args=(port,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(2):
            for release in releases:
                agent.make_current("meter", release)
                assert ask(port, "GET", "/health")[1]["release"] == release
        ended.set()
        for thread in threads:
            thread.join(30)
    assert not failed
    assert {release for release, _ in seen} == set(releases)
    assert all(scores == [2.5, (releases[release] + 1) / 2] for release, scores in seen)
