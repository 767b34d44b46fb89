"""What a suspended request costs."""

from __future__ import annotations

from benchmarks.suspended import measure


def test_a_suspended_request_costs_next_to_nothing() -> None:
    """Less than 12 KiB with its connection, and no processor time while it waits."""
    cost = measure(1000, 1, site=True)

    assert cost.answered == 1000
    assert cost.bytes_each < 12 * 1024
    assert cost.busy < 0.1
