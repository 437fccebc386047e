from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from internvideo.models.clip_text import CLIPTextConfig, CLIPTextEncoder
from internvideo.tasks.retrieval.headers import (
    FramePooling,
    FramePoolingConfig,
    TightHeader,
    TightHeaderConfig,
    TokenWiseHeader,
    TokenWiseHeaderConfig,
    build_header,
    masked_mean,
)

WIDTH = 8
LENGTHS = st.lists(st.integers(1, 5), min_size=1, max_size=4)


def drawn(
    lengths: list[int], seed: int = 0, *, count: int = 5
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(len(lengths), count, WIDTH, generator=generator)
    return tokens, torch.arange(count) < torch.tensor(lengths)[:, None]


def pooling(rule: str, **options) -> FramePooling:
    torch.manual_seed(1)
    return FramePooling(FramePoolingConfig(rule=rule, depth=2, **options), WIDTH)


@given(LENGTHS)
@settings(deadline=None)
def test_the_mean_is_over_the_frames_that_are_seen(lengths):
    frames, seen = drawn(lengths)
    expected = torch.stack([x[:n].mean(0) for x, n in zip(frames, lengths, strict=True)])
    torch.testing.assert_close(masked_mean(frames, seen), expected)
    torch.testing.assert_close(pooling("mean")(frames, seen), expected)


@given(LENGTHS)
@settings(max_examples=20, deadline=None)
def test_the_lstm_is_that_over_packed_sequences(lengths):
    header = pooling("seq-lstm")
    frames, seen = drawn(lengths)
    packed = pack_padded_sequence(
        frames, torch.tensor(lengths), batch_first=True, enforce_sorted=False
    )
    assert header.lstm is not None
    states, _ = pad_packed_sequence(header.lstm(packed)[0], batch_first=True, total_length=5)
    expected = torch.stack(
        [(x + y)[:n].mean(0) for x, y, n in zip(frames, states, lengths, strict=True)]
    )
    torch.testing.assert_close(header(frames, seen), expected)


@pytest.mark.parametrize("rule", ["mean", "seq-lstm", "seq-transformer"])
def test_what_is_behind_the_end_changes_nothing(rule):
    header = pooling(rule).eval()
    frames, seen = drawn([5, 2, 1])
    spoilt = torch.where(seen[..., None], frames, 9.0)
    torch.testing.assert_close(header(spoilt, seen), header(frames, seen))
    changed = torch.where(seen[..., None], frames + 1, frames)
    assert not torch.allclose(header(changed, seen), header(frames, seen))


def test_only_sequence_headers_know_the_order_of_frames():
    frames, seen = drawn([5, 5])
    for rule, ordered in (("mean", False), ("seq-lstm", True), ("seq-transformer", True)):
        header = pooling(rule).eval()
        same = torch.allclose(header(frames.flip(1), seen), header(frames, seen), atol=1e-6)
        assert same != ordered, rule


def test_a_transformer_starts_as_the_first_blocks_of_the_text_tower():
    config = CLIPTextConfig(
        vocab_size=9, context_length=6, width=WIDTH, depth=3, num_heads=1, embed_dim=WIDTH
    )
    text = CLIPTextEncoder(config)
    for header in (
        pooling("seq-transformer", max_frames=5),
        build_header(TightHeaderConfig(depth=3, max_tokens=9), WIDTH),
    ):
        assert header.start_from_text(text)
        for own, given_ in zip(
            header.transformer.resblocks, text.transformer.resblocks, strict=False
        ):
            torch.testing.assert_close(own.state_dict(), given_.state_dict())
        table = getattr(header, "frame_positions", None)
        table = header.positions if table is None else table
        assert torch.equal(table[:5], text.positional_embedding[:5])
    assert not pooling("seq-lstm").start_from_text(text)
    assert not FramePooling(
        FramePoolingConfig(rule="seq-transformer", depth=4), WIDTH
    ).start_from_text(text)
    narrow = FramePooling(FramePoolingConfig(rule="seq-transformer", depth=1), 4)
    assert not narrow.start_from_text(text)


def test_more_frames_than_positions_are_refused():
    frames, seen = drawn([5])
    with pytest.raises(ValueError, match=r"5 frames.*4 positions.*max_frames"):
        pooling("seq-transformer", max_frames=4)(frames, seen)
    tight = TightHeader(TightHeaderConfig(max_tokens=5), WIDTH)
    with pytest.raises(ValueError, match=r"6 .*5 positions.*max_tokens"):
        tight(frames[:, 0], frames, seen)


# --- pairs ------------------------------------------------------------------------------------


def tight(**options) -> TightHeader:
    torch.manual_seed(2)
    header = TightHeader(TightHeaderConfig(depth=2, num_heads=2, **options), WIDTH)
    for parameter in header.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return header.eval()


def test_a_tight_header_looks_at_each_pair_alone():
    texts, (frames, seen) = torch.randn(3, WIDTH), drawn([5, 3], 1)
    logits = tight().every(texts, frames, seen)
    assert logits.shape == (3, 2)
    for row in range(3):
        for column in range(2):
            count = int(seen[column].sum())
            one = tight()(
                texts[row, None], frames[column, None, :count], seen[column, None, :count]
            )
            torch.testing.assert_close(logits[row, column], one[0])
    torch.testing.assert_close(tight(texts_at_once=2).every(texts, frames, seen), logits)


def by_hand(header, words, said, frames, seen, *, zero: bool) -> torch.Tensor:
    """Return token-wise scores pair by pair, token by token."""
    found = torch.zeros(len(words), len(frames))
    for a, (text, is_word) in enumerate(zip(words, said, strict=True)):
        for v, (video, is_frame) in enumerate(zip(frames, seen, strict=True)):
            cosines = F.normalize(text, dim=-1) @ F.normalize(video, dim=-1).T
            if zero:
                cosines = cosines * is_word[:, None] * is_frame
            else:
                cosines = cosines[is_word][:, is_frame]
            of_words, of_frames = cosines.amax(1), cosines.amax(0)
            if zero:
                of_words, of_frames = of_words[is_word], of_frames[is_frame]
            if header.text_weight is None:
                weights = [torch.full_like(x, 1 / len(x)) for x in (of_words, of_frames)]
            else:
                weights = [
                    header.text_weight(text[is_word])[:, 0].softmax(0),
                    header.video_weight(video[is_frame])[:, 0].softmax(0),
                ]
            found[a, v] = (of_words @ weights[0] + of_frames @ weights[1]) / 2
    return found


@pytest.mark.parametrize("weight_layers", [0, 1, 2, 3])
@pytest.mark.parametrize("padding", ["excluded", "zero"])
def test_tokens_find_their_nearest(weight_layers, padding):
    torch.manual_seed(3)
    config = TokenWiseHeaderConfig(weight_layers=weight_layers, padding=padding)
    header = TokenWiseHeader(config, WIDTH)
    for parameter in header.parameters():
        torch.nn.init.normal_(parameter)
    words, said = drawn([4, 1, 2], 4, count=4)
    frames, seen = drawn([5, 2], 5)
    found = header.every(words, said, frames, seen)
    expected = by_hand(header, words, said, frames, seen, zero=padding == "zero")
    torch.testing.assert_close(found.scores, expected)
    rows = header(words[:2], said[:2], frames, seen)
    torch.testing.assert_close(rows.scores, expected.diagonal())
    torch.testing.assert_close(rows.word_weights.sum(1), torch.ones(2))
    torch.testing.assert_close(found.frame_weights[~seen], torch.zeros(int((~seen).sum())))


def test_sizes_that_make_no_sense_are_refused():
    for config, field in ((FramePoolingConfig, "depth"), (TightHeaderConfig, "texts_at_once")):
        with pytest.raises(ValueError, match=f"{field} must be at least 1"):
            config(**{field: 0})
