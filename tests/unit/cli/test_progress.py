"""What is shown while something is sent, and the words that bound it."""

from __future__ import annotations

import click
import pytest
from rich.progress import Progress

from edgekit.cli.output import _HowFar
from edgekit.cli.words import bytes_per_second
from edgekit.ondevice.wire import SENT_STAGE


@pytest.mark.parametrize(("text", "bytes_s"), [("500k", 500_000), ("2M", 2_000_000), ("1.5M", 1_500_000), ("1000", 1000), (" 1G ", 10**9)])
def test_a_rate(text: str, bytes_s: int) -> None:
    assert bytes_per_second(text) == bytes_s


@pytest.mark.parametrize("text", ["", "0", "999", "0.5k", "-1k", "1K", "1 k", "1e6", "1kB", "1M/s", "k", "1.0001k", "٣k", "1k\n1k"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a rate as 500k or 2M"):
        bytes_per_second(text)


def test_bytes_have_a_speed_and_an_end_and_steps_do_not() -> None:
    clock = [0.0]
    with Progress(get_time=lambda: clock[0], disable=True) as bars:
        sent, steps = bars.add_task(SENT_STAGE, total=90_000_000), bars.add_task("golden check", total=2)
        assert _HowFar().render(bars.tasks[0]).plain == "0 B of 90 MB"
        for second in range(1, 5):
            clock[0] = second
            bars.update(sent, completed=10_000_000 * second)
        bars.update(steps, completed=1)
        assert _HowFar().render(bars.tasks[0]).plain == "40 MB of 90 MB, 10 MB/s, 0:00:05 left"
        assert _HowFar().render(bars.tasks[1]).plain == "1/2"
        bars.update(sent, completed=90_000_000)
        assert _HowFar().render(bars.tasks[0]).plain == "90 MB of 90 MB"
