"""Collects the golden cases: `pytest tests/golden [--golden-dir DIR]`."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from golden.case import Case, find_cases

HERE = Path(__file__).parent
COMPACT = HERE / "cases"
BESIDE = HERE.parents[2] / "shared" / "golden"


def load_adapters() -> dict:
    """Return family -> adapter over all modules in `adapters/`; a family has one adapter."""
    adapters: dict = {}
    for path in sorted((HERE / "adapters").glob("[a-z]*.py")):
        module = importlib.import_module(f"golden.adapters.{path.stem}")
        if twice := adapters.keys() & module.ADAPTERS.keys():
            raise ValueError(f"{path.name}: families with two adapters: {sorted(twice)}")
        adapters.update(module.ADAPTERS)
    return adapters


def collect(directory: Path | None) -> list[Case]:
    """Return the cases of `directory`, or the compact set and the full set if present."""
    if directory is not None:
        if not directory.is_dir():
            raise pytest.UsageError(f"--golden-dir: no such directory: {directory}")
        return find_cases(directory)
    full = find_cases(BESIDE) if BESIDE.is_dir() else []
    names = {case.name for case in full}
    return full + [case for case in find_cases(COMPACT) if case.name not in names]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "golden_case" not in metafunc.fixturenames:
        return
    adapters = load_adapters()
    directory = metafunc.config.getoption("golden_dir")
    cases = collect(directory)
    if directory is None:
        cases = [case for case in cases if case.family in adapters]
    metafunc.parametrize("golden_case", cases, ids=[case.name for case in cases])


@pytest.fixture(scope="session")
def adapters() -> dict:
    return load_adapters()


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    ran = any("tests/golden/" in r.nodeid for r in terminalreporter.stats.get("passed", []))
    if not ran or config.getoption("golden_dir") is not None:
        return
    waiting = sorted({case.family for case in collect(None)} - load_adapters().keys())
    if waiting:
        terminalreporter.write_line(
            f"golden: {len(waiting)} families have no adapter yet: {', '.join(waiting)}"
        )
