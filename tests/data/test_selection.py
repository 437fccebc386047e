from __future__ import annotations

import numpy as np
import pytest

import tiny
from internvideo.data.selection import Selection
from internvideo.data.world import WorldSource
from internvideo.errors import DataError
from internvideo.world import World


def test_it_has_the_chosen_clips_in_their_order():
    source = WorldSource(World(seed=3), num_clips=5)
    chosen = Selection(source, (3, 0))
    assert len(chosen) == 2
    for place, index in enumerate((3, 0)):
        assert chosen.key(place) == source.key(index)
        assert chosen.label(place) == source.label(index)
        ours, theirs = (
            s.read_views(n, tiny.PROTOCOL) for s, n in ((chosen, place), (source, index))
        )
        assert ours.views.equal(theirs.views)
        ours, theirs = (
            s.read(n, np.random.default_rng(0)) for s, n in ((chosen, place), (source, index))
        )
        assert ours.caption == theirs.caption
    assert chosen.class_names == source.class_names
    with pytest.raises(DataError, match="num_classes"):
        chosen.check_labels(2)


def test_clips_may_have_other_names():
    source = WorldSource(World(seed=3), num_clips=5)
    named = Selection(source, (3,), ["film.mp4"])
    assert named.key(0) == named.read_views(0, tiny.PROTOCOL).key == "film.mp4"
