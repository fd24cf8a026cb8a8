"""What the service counts, as text for Prometheus. Used by `edgekit.ondevice.serve`.

The format is version 0.0.4 of the text exposition (Prometheus documentation, "Exposition formats").
"""

from __future__ import annotations

import bisect
import threading
from typing import Iterable, Mapping

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# From a keyword spotter on a fast core to a detector on a slow one.
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """Counts of one process; any thread may add."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, int], int] = {}
        self._buckets, self._sum_s = [0] * (len(BOUNDS_S) + 1), 0.0

    def request(self, path: str, code: int) -> None:
        """Count an answer."""
        with self._lock:
            self._requests[path, code] = self._requests.get((path, code), 0) + 1

    def predicted(self, seconds: float) -> None:
        """Count a prediction that succeeded."""
        with self._lock:
            self._buckets[bisect.bisect_left(BOUNDS_S, seconds)] += 1
            self._sum_s += seconds

    def text(self, info: Mapping[str, str], ready: bool, since_s: float) -> str:
        """Return it all; ``info`` describes the release that answers, since when ``since_s`` says."""
        with self._lock:
            requests, buckets, sum_s = sorted(self._requests.items()), list(self._buckets), self._sum_s
        counts = [sum(buckets[: index + 1]) for index in range(len(buckets))]
        predict = "edgekit_predict_duration_seconds"
        lines = [
            *_head("edgekit_http_requests_total", "counter", "Answers, by path and HTTP status."),
            *("edgekit_http_requests_total%s %d" % (_labels({"path": p, "code": str(c)}), count) for (p, c), count in requests),
            *_head("edgekit_http_errors_total", "counter", "Answers with a status of 400 or above."),
            "edgekit_http_errors_total %d" % sum(count for (_, code), count in requests if code >= 400),
            *_head(predict, "histogram", "Preprocessing and inference of one sample, with the wait for the one before."),
            *('%s_bucket{le="%s"} %d' % (predict, bound, count) for bound, count in zip([*map(repr, BOUNDS_S), "+Inf"], counts)),
            "%s_sum %r" % (predict, sum_s),
            "%s_count %d" % (predict, counts[-1]),
            *_head("edgekit_ready", "gauge", "1 when the current release is the one that answers."),
            "edgekit_ready %d" % ready,
            *_head("edgekit_release_info", "gauge", "The release that answers."),
            *(["edgekit_release_info%s 1" % _labels(info)] if info else []),
            *_head("edgekit_release_opened_timestamp_seconds", "gauge", "When that release was opened."),
            *(["edgekit_release_opened_timestamp_seconds %.3f" % since_s] if info else []),
        ]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, text: str) -> Iterable[str]:
    return "# HELP %s %s" % (name, text), "# TYPE %s %s" % (name, kind)


def _labels(labels: Mapping[str, str]) -> str:
    escaped = {key: value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"') for key, value in labels.items()}
    return "{%s}" % ",".join('%s="%s"' % item for item in escaped.items())
