"""Parity with the reference implementations, case by case."""

from __future__ import annotations


def test_golden(golden_case, adapters):
    adapter = adapters.get(golden_case.family)
    assert adapter is not None, (
        f"no adapter for the family {golden_case.family!r} of {golden_case.path}; "
        f"families with one: {', '.join(sorted(adapters))}"
    )
    adapter(golden_case)
