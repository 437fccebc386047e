"""The graphs of Room-to-Room: a small one, and the published numbers on the real ones."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from internvideo.errors import DataError
from internvideo.simulator.graphs import (
    Graph,
    Route,
    measure_trajectories,
    read_graph,
    read_routes,
    read_trajectories,
    write_trajectories,
)

REAL = Path(__file__).parents[4] / "shared" / "real" / "vln"


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    """Four viewpoints at the corners of 3 m × 4 m, joined around but for a - d; e is left out."""
    places = {"a": (0, 0), "b": (3, 0), "c": (3, 4), "d": (0, 4), "e": (9, 9)}
    joined = {"ab", "bc", "cd", "ea"}
    rows = [
        {
            "image_id": name,
            "pose": [1, 0, 0, x, 0, 1, 0, y, 0, 0, 1, 1.5, 0, 0, 0, 1],
            "included": name != "e",
            "unobstructed": [name + other in joined or other + name in joined for other in places],
        }
        for name, (x, y) in places.items()
    ]
    path = tmp_path / "scan_connectivity.json"
    path.write_text(json.dumps(rows))
    return read_graph(path)


def walked(*names: str) -> list[tuple[str, float, float]]:
    return [(name, 0.0, 0.0) for name in names]


def test_ways_go_along_the_edges(graph: Graph) -> None:
    assert graph.names == ("a", "b", "c", "d")
    assert graph.scan == "scan"
    assert graph.distance("a", "d") == pytest.approx(3 + 4 + 3)
    assert graph.shortest_path("a", "d") == ["a", "b", "c", "d"]
    assert graph.shortest_path("a", "a") == ["a"]


def test_candidates_go_from_left_to_right(graph: Graph) -> None:
    left, right = graph.candidates("b", heading=0.0)  # looks along +y
    assert (left.viewpoint, right.viewpoint) == ("a", "c")
    assert left.angle == pytest.approx(-math.pi / 2)
    assert right.angle == pytest.approx(0.0)
    assert (left.distance, right.distance) == (pytest.approx(3), pytest.approx(4))


def test_metrics_of_a_detour(graph: Graph) -> None:
    route = Route("7_0", "scan", ("a", "b", "c"), 0.0, "walk")
    values = measure_trajectories([route], {"scan": graph}, {"7_0": walked(*"abcdc", "c")})
    assert values["path_length"] == pytest.approx(13)
    assert values["spl"] == pytest.approx(7 / 13)
    assert values["ndtw"] == pytest.approx(math.exp(-3 / (3 * 3)))  # the way to d, 3 m off
    # d is 3 m from the goal: as far as that is no success
    missed = measure_trajectories([route], {"scan": graph}, {"7_0": walked(*"abcd")})
    assert missed["success"] == missed["spl"] == missed["sdtw"] == 0
    assert missed["oracle_success"] == 1
    assert missed["distance_to_goal"] == pytest.approx(3)


@pytest.mark.parametrize(
    ("walk", "named"),
    [
        (walked(*"bc"), "must begin at a"),
        (walked(*"ac"), "no edge from a to c"),
        (walked("a", "bb"), "no viewpoint 'bb'"),
        ([], "no trajectory for route 7_0"),
    ],
)
def test_walks_that_nobody_can_walk_are_refused(graph: Graph, walk: list, named: str) -> None:
    route = Route("7_0", "scan", ("a", "b", "c"), 0.0, "walk")
    with pytest.raises(DataError, match=named):
        measure_trajectories([route], {"scan": graph}, {"7_0": walk})


def test_submissions_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "submission.json"
    write_trajectories(path, {"7_0": walked("a", "b")})
    assert read_trajectories(path) == {"7_0": walked("a", "b")}
    path.write_text('[{"instr_id": "7_0"}]')
    with pytest.raises(DataError, match=r"submission\.json.*trajectory"):
        read_trajectories(path)
    with pytest.raises(DataError, match=r"submission\.json.*R2R_SPLIT"):
        read_routes(path)
    with pytest.raises(DataError, match=r"missing\.json"):
        read_routes(tmp_path / "missing.json")


@pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/real/vln")
def test_published_numbers_of_the_real_graphs() -> None:
    graphs = [read_graph(path) for path in sorted((REAL / "connectivity").glob("*.json"))]
    by_scan = {graph.scan: graph for graph in graphs}
    routes = read_routes(REAL / "r2r" / "R2R_val_unseen.json")
    trajectories = read_trajectories(REAL / "r2r" / "val_unseen_shortest_agent.json")
    assert len(routes) == 2349
    shortest = measure_trajectories(routes, by_scan, trajectories)
    assert round(shortest["path_length"], 4) == 9.4797
    assert (shortest["distance_to_goal"], shortest["success"], shortest["spl"]) == (0, 1, 1)
    own = measure_trajectories(routes, by_scan, {each.id: walked(*each.path) for each in routes})
    assert round(own["path_length"], 4) == 9.5046
    assert round(own["spl"], 5) == 0.99844
    np.testing.assert_allclose(own["ndtw"], 1.0)
