from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from internvideo.evaluation import similarity
from internvideo.evaluation.ranking import dual_softmax
from internvideo.evaluation.retrieval_ranks import Ranks, retrieval_ranks
from internvideo.evaluation.similarity import Similarity, Tiles, best_candidates


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """Every matrix of these tests is cut into several tiles."""
    monkeypatch.setattr(similarity, "_TILE", 12)


def owners_of(counts: list[int]) -> torch.Tensor:
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


def weighed(scores: torch.Tensor, side: str, *, of_texts: bool) -> torch.Tensor:
    """The whole matrix of scores times softmax, by the plain formula."""
    over_texts = side == "text" or (side == "both" and of_texts)
    return dual_softmax(scores) if over_texts else dual_softmax(scores.T).T


def ranks_by_loops(scores: np.ndarray, owners: list[int]) -> tuple[list, list]:
    """(ahead, tied) of each text and each video, one comparison after the other."""
    of_texts, of_videos = [], []
    for row, owner in zip(scores, owners, strict=True):
        others = [score for video, score in enumerate(row) if video != owner]
        of_texts.append((sum(s > row[owner] for s in others), sum(s == row[owner] for s in others)))
    for video in range(scores.shape[1]):
        best: dict[int, float] = {}
        for row, owner in zip(scores, owners, strict=True):
            best[owner] = max(best.get(owner, -np.inf), row[video])
        own = best.pop(video)
        of_videos.append(
            (sum(s > own for s in best.values()), sum(s == own for s in best.values()))
        )
    return of_texts, of_videos


def pairs(ranks: Ranks) -> list[tuple[int, int]]:
    return list(zip(ranks.ahead.tolist(), ranks.tied.tolist(), strict=True))


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=9),
    st.sampled_from(["text", "video", "both"]),
    st.sampled_from(["ties", "logits", "far apart"]),
    st.integers(0, 500),
)
@settings(max_examples=80, deadline=None)
def test_ranks_equal_those_of_the_whole_matrix(counts, side, kind, seed):
    generator = torch.Generator().manual_seed(seed)
    shape = (sum(counts), len(counts))
    scores = torch.randn(shape, generator=generator, dtype=torch.float64) * 4
    if kind == "ties":
        scores = scores.round()
    if kind == "far apart":  # beyond what one common exponent holds
        scores[::2] -= 400
    owners = owners_of(counts)
    plain, dual = retrieval_ranks(Similarity.of_matrix(scores), owners, side=side)
    of_texts, of_videos = ranks_by_loops(scores.numpy(), owners.tolist())
    assert pairs(plain.to_video) == of_texts
    assert pairs(plain.to_text) == of_videos
    if kind != "ties":  # of products rounding decides
        by_text, by_video = (weighed(scores, side, of_texts=x).numpy() for x in (True, False))
        assert pairs(dual.to_video) == ranks_by_loops(by_text, owners.tolist())[0]
        assert pairs(dual.to_text) == ranks_by_loops(by_video, owners.tolist())[1]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_tiles_cover_the_scores_and_split_no_video(counts):
    owners = owners_of(counts)
    scores = torch.zeros(len(owners), len(counts))
    seen, met, best = torch.zeros_like(scores), torch.zeros_like(scores), []
    for tile in Tiles(Similarity.of_matrix(scores), owners):
        seen[tile.rows, tile.columns] += 1
        met[tile.rows, tile.columns][tile.texts] += 1
        assert not set(owners[: tile.rows.start].tolist()) & set(owners[tile.rows].tolist())
        groups = owners[tile.rows].unique()
        rows, columns = tile.videos
        best += zip(groups[rows].tolist(), (columns + tile.columns.start).tolist(), strict=True)
    assert (seen == 1).all()
    assert torch.equal(met, F.one_hot(owners, len(counts)).float())
    assert sorted(best) == [(video, video) for video in range(len(counts))]


@given(st.integers(1, 12), st.integers(0, 500))
@settings(max_examples=40, deadline=None)
def test_legacy_places_are_those_of_the_published_evaluator(size, seed):
    scores = torch.randint(0, 4, (size, size), generator=torch.Generator().manual_seed(seed))
    plain, _ = retrieval_ranks(
        Similarity.of_matrix(scores.double()), torch.arange(size), side="both"
    )
    ranks = plain.to_video
    ordered = np.sort(-scores.numpy(), axis=1)
    _, published = np.where(ordered + np.diag(scores.numpy())[:, None] == 0)
    assert ranks.places("legacy").tolist() == published.tolist()
    assert ranks.places().tolist() == (-ordered > np.diag(scores.numpy())[:, None]).sum(1).tolist()


@pytest.mark.parametrize("counts", [[1] * 30, [1, 5, 2, 3, 1, 9, 1, 1]])
@pytest.mark.parametrize("side", ["text", "video", "both"])
def test_vectors_need_no_matrix(counts, side, monkeypatch):
    monkeypatch.setattr(similarity, "_HELD", 0)
    generator = torch.Generator().manual_seed(1)
    texts = F.normalize(torch.randn(sum(counts), 8, generator=generator, dtype=torch.double), dim=1)
    videos = F.normalize(
        torch.randn(len(counts), 8, generator=generator, dtype=torch.double), dim=1
    )
    computed = Similarity.of_vectors(texts, videos, 0.05)
    areas = []

    def tile(rows: slice, columns: slice) -> torch.Tensor:
        areas.append((rows.stop - rows.start) * (columns.stop - columns.start))
        return computed.tile(rows, columns)

    owners = owners_of(counts)
    streamed = retrieval_ranks(Similarity(computed.shape, tile, computed.like), owners, side=side)
    whole = retrieval_ranks(Similarity.of_matrix(texts @ videos.T / 0.05), owners, side=side)
    for one, other in zip((*streamed[0], *streamed[1]), (*whole[0], *whole[1]), strict=True):
        assert torch.equal(one.ahead, other.ahead)
    assert max(areas) <= max(12, max(counts) * 6)
    assert sum(areas) <= 2 * len(texts) * len(videos)  # two passes


def test_true_pairs_do_not_beat_themselves_by_rounding():
    """In float32 a product may come out otherwise in another tile; the truth is no candidate."""
    counter = iter(range(10**6))

    def noisy(rows: slice, columns: slice) -> torch.Tensor:
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        return torch.full(shape, 1.0 + 1e-6 * next(counter))  # larger in each call

    for both in retrieval_ranks(
        Similarity((1, 1), noisy, torch.empty(0)), torch.tensor([0]), side="both"
    ):
        assert pairs(both.to_video) == pairs(both.to_text) == [(0, 0)]


@pytest.mark.parametrize("side", ["text", "video", "both"])
def test_what_is_not_a_number_comes_last_and_harms_nobody_else(side):
    scores = torch.diag(torch.full((6,), 9.0)) + torch.rand(6, 6)
    scores[:, 2] = torch.nan  # a video
    scores[4] = torch.nan  # a text
    for both in retrieval_ranks(Similarity.of_matrix(scores), torch.arange(6), side=side):
        for ranks in both:
            assert ranks.ahead.tolist() == [0, 0, 5, 0, 5, 0]
            assert not ranks.tied.any()
    twice = Similarity.of_matrix(scores.repeat_interleave(2, dim=0))
    for both in retrieval_ranks(twice, owners_of([2] * 6), side=side):
        assert both.to_text.ahead.tolist() == [0, 0, 5, 0, 5, 0]


def test_large_logits_neither_overflow_nor_vanish():
    scores = torch.tensor([[900.0, -900.0, 0.0], [880.0, 890.0, -1e4], [-torch.inf, 3.0, 5.0]])
    for both in retrieval_ranks(Similarity.of_matrix(scores), torch.arange(3), side="both"):
        assert both.to_video.ahead.tolist() == [0, 0, 0]
        assert both.to_text.ahead.tolist() == [0, 0, 0]


def test_a_constant_model_finds_everything_and_ties_tell():
    for both in retrieval_ranks(
        Similarity.of_matrix(torch.ones(5, 5)), torch.arange(5), side="both"
    ):
        assert both.to_video.ahead.tolist() == [0] * 5
        assert both.to_video.tied.tolist() == [4] * 5
        assert both.to_video.places("legacy").tolist() == [0, 1, 2, 3, 4] * 5


def test_half_precision_is_compared_in_float32():
    scores = torch.randn(9, 9).half()
    narrow, wide = (
        retrieval_ranks(Similarity.of_matrix(each), torch.arange(9), side="both")[1].to_video
        for each in (scores, scores.float())
    )
    assert torch.equal(narrow.ahead, wide.ahead)


@pytest.mark.parametrize("k", [1, 3, 50])
def test_candidates_are_the_best(k, monkeypatch):
    monkeypatch.setattr(similarity, "_HELD", 10)  # a text at a time
    scores = torch.randn(11, 7)
    of_texts, of_videos = best_candidates(Similarity.of_matrix(scores), k)
    assert torch.equal(of_texts, scores.topk(min(k, 7), dim=1).indices)
    assert torch.equal(of_videos, scores.T.topk(min(k, 11), dim=1).indices)


@pytest.mark.parametrize("owners", [[0, 1], [0, 2, 1], [1, 1, 2], [0, 0, 1], [0, 2, 2]])
def test_texts_without_their_video_are_refused(owners):
    with pytest.raises(ValueError, match="owners must name the video of each of the 3 texts"):
        retrieval_ranks(Similarity.of_matrix(torch.zeros(3, 3)), torch.tensor(owners), side="text")
