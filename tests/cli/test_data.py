"""What `--data` says."""

from __future__ import annotations

import pytest

from deltasync.channel.address import DataPlan
from deltasync.cli.data import data_plan
from deltasync.errors import UsageError


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        (None, None),
        ("ssh", None),
        ("tcp", DataPlan()),
        ("tcp:60000", DataPlan(None, 60000, 60000)),
        ("tcp:60000-60010", DataPlan(None, 60000, 60010)),
        ("tcp:nas", DataPlan("nas")),
        ("tcp:nas-10g.lan:5-6", DataPlan("nas-10g.lan", 5, 6)),
        ("tcp:10.0.0.2", DataPlan("10.0.0.2")),
        ("tcp:[fe80::1%eth0]", DataPlan("fe80::1%eth0")),
        ("tcp:[::1]:7", DataPlan("::1", 7, 7)),
    ],
)
def test_hosts_and_ports(text: str | None, plan: DataPlan | None) -> None:
    """A host, ports, both, or neither."""
    assert data_plan(text, over_ssh=True) == plan


@pytest.mark.parametrize(
    "text", ["", "udp", "tcp:", "tcp:0", "tcp:5-4", "tcp:70000", "tcp:1:2:3", "tcp:a:b", "tcp:a:", "tcp::1", "tcp:a b"]
)
def test_all_else_is_a_usage_error(text: str) -> None:
    """It is told, not guessed."""
    with pytest.raises(UsageError):
        data_plan(text, over_ssh=True)


def test_it_is_for_ssh() -> None:
    """Elsewhere there is nothing to go beside."""
    assert data_plan("ssh", over_ssh=False) is None
    with pytest.raises(UsageError):
        data_plan("tcp", over_ssh=False)
