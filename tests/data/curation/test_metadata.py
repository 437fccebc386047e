"""Metadata of clip collections: filtered, drawn from and measured, as json lines and as parquet."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from internvideo.cli.application import run
from internvideo.data.curation import rows, stats
from internvideo.data.curation.rows import MetadataColumns
from internvideo.data.curation.selection import (
    ClipFilter,
    Condition,
    diverse_choice,
    filter_metadata,
)
from internvideo.data.curation.stats import LENGTH_EDGES, QUANTILES, measure_metadata
from internvideo.errors import ConfigError, DataError
from internvideo.formats.timestamps import format_timestamp

NAMES = ("aB3_dEfGh1-", "-startdash0", "0123456789_")


def row(number, **changes):
    start = 10.0 * number
    return {
        "YoutubeID": NAMES[number % 3],
        "Start_timestamp": format_timestamp(start),
        "End_timestamp": format_timestamp(start + 1 + number),
        "Caption": f"片段 {number} – “snow”",
        "Aesthetic_Score": 4.0 + number / 10,
        "UMT_Score": 0.3 + number / 100,
        "Language": ("en", "zh")[number % 2],
        "views": 100 * number,
        "ignored": {"kept": [number]},
        **changes,
    }


ROWS = [row(number) for number in range(12)]


def write_rows(path, rows):
    if path.suffix == ".jsonl":
        text = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)
        path.write_text(text, encoding="utf-8")
        return path
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def read_rows(path):
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    from pyarrow import parquet

    return parquet.read_table(path).to_pylist()


FILTERS = [
    (ClipFilter(), range(12)),
    (ClipFilter(min_aesthetic=4.5), range(5, 12)),
    (ClipFilter(min_umt_sim=0.35, languages=("zh",)), (5, 7, 9, 11)),
    (ClipFilter(languages=("zh", "en")), range(12)),
    (ClipFilter(min_duration=3, max_duration=5.5), (2, 3, 4)),
    (ClipFilter(where=(Condition.parse("views >= 1000"),)), (10, 11)),
    (ClipFilter(where=(Condition.parse("YoutubeID=-startdash0"),)), (1, 4, 7, 10)),
    (ClipFilter(where=(Condition.parse("Language!=zh"), Condition.parse("views<500"))), (0, 2, 4)),
]


@pytest.mark.parametrize(
    "kinds", [(".jsonl", ".jsonl"), (".parquet", ".parquet"), (".parquet", ".jsonl")]
)
@pytest.mark.parametrize(("wanted", "kept"), FILTERS)
def test_rows_are_taken_as_they_are(tmp_path, monkeypatch, kinds, wanted, kept):
    monkeypatch.setattr(rows, "_ROWS", 5)  # several blocks
    source = write_rows(tmp_path / f"in{kinds[0]}", ROWS)
    out, seen = tmp_path / f"out{kinds[1]}", []
    report = filter_metadata(source, out, wanted, progress=lambda *args: seen.append(args))
    assert read_rows(out) == [ROWS[number] for number in kept]
    assert (report.num_rows, report.num_taken, report.num_bad) == (12, len(kept), 0)
    assert seen[-1] == (1000, 1000)
    assert not list(tmp_path.glob("*.part"))


def test_lines_stay_byte_for_byte(tmp_path):
    lines = [
        b'\xef\xbb\xbf{"YoutubeID": "a",  "x": 1.50, "n": 12345678901234567890}\r\n',
        b"\n",
        '{"YoutubeID":"b","é":"\u2028"}'.encode(),
    ]
    (tmp_path / "in.jsonl").write_bytes(b"".join(lines))
    filter_metadata(tmp_path / "in.jsonl", tmp_path / "out.jsonl", ClipFilter())
    out = (tmp_path / "out.jsonl").read_bytes()
    assert out == lines[0].rstrip() + b"\n" + lines[2] + b"\n"


BAD = [
    ('{"YoutubeID": "x", "Start_timestamp": "0:05", "End_timestamp": "0:05"}', "lasts no time"),
    ('{"YoutubeID": "x", "Start_timestamp": "0:05", "End_timestamp": "0:04"}', "lasts no time"),
    ('{"YoutubeID": "x", "Start_timestamp": null, "End_timestamp": "0:04"}', "is no time"),
    ('{"YoutubeID"', "not json"),
    ("[]", "expected a json object"),
    ("\udcff", "no UTF-8"),
    (json.dumps({**ROWS[1], "Aesthetic_Score": "n/a"}), "'n/a'; expected a number"),
    (json.dumps({**ROWS[1], "Aesthetic_Score": float("nan")}), "'nan'; expected a number"),
]


def test_unusable_rows_are_left_out_and_told(tmp_path, capsys):
    lines = [json.dumps(ROWS[0]), *(line for line, _ in BAD), json.dumps(ROWS[9])]
    path = tmp_path / "in.jsonl"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    wanted = ClipFilter(min_aesthetic=0)
    report = filter_metadata(path, tmp_path / "out.jsonl", wanted)
    assert read_rows(tmp_path / "out.jsonl") == [ROWS[0], ROWS[9]]
    assert report.num_bad == len(BAD)
    for number, (message, (_, why)) in enumerate(zip(report.bad, BAD, strict=True), start=2):
        assert message.startswith(f"{path}:{number}: ")
        assert why in message
    measured = measure_metadata(path)
    assert (measured.num_rows, measured.num_clips, measured.num_bad) == (10, 2, 8)
    assert measured.bad == report.bad
    assert (
        run(["data", "filter", str(path), str(tmp_path / "o.jsonl"), "--min-aesthetic", "0"]) == 0
    )
    printed = capsys.readouterr()
    assert printed.out == f"2 of 10 clips: {tmp_path}/o.jsonl\n"
    assert printed.err.startswith(f"note: 8 rows cannot be used: {path}:2: the clip from 5 to 5 s")
    assert printed.err.rstrip().endswith("; …")


def test_what_a_filter_cannot_do(tmp_path):
    path, out = (
        write_rows(tmp_path / "in.jsonl", [{"YoutubeID": "a", "Kind": 1}]),
        tmp_path / "o.jsonl",
    )
    for wanted, message in (
        (
            ClipFilter(min_aesthetic=1),
            "no column with the aesthetic .*; the columns are YoutubeID,",
        ),
        (ClipFilter(languages=("en",)), "no column with the language"),
        (ClipFilter(min_duration=1), "no column with the start"),
        (ClipFilter(where=(Condition.parse("kind=1"),)), "no column 'kind'.* Did you mean 'Kind'"),
    ):
        with pytest.raises(DataError, match=message):
            filter_metadata(path, out, wanted)
        assert not out.exists()
        assert not list(tmp_path.glob("*.part"))
    with pytest.raises(ConfigError, match="is the file that is read"):
        filter_metadata(path, path, ClipFilter())
    with pytest.raises(ConfigError, match=r"expected the ending .jsonl"):
        filter_metadata(path, tmp_path / "x.csv", ClipFilter())
    with pytest.raises(ConfigError, match="have no types that parquet needs"):
        filter_metadata(path, tmp_path / "x.parquet", ClipFilter())
    with pytest.raises(DataError, match="no metadata file"):
        filter_metadata(tmp_path / "none.jsonl", out, ClipFilter())
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(DataError, match="is empty"):
        filter_metadata(tmp_path / "empty.jsonl", out, ClipFilter())
    with pytest.raises(ConfigError, match="cannot draw 5 clips of the 1"):
        filter_metadata(path, out, ClipFilter(), diverse=5)
    for text in ("Kind", "", ">=3"):
        with pytest.raises(ConfigError, match="not of the form column=value"):
            Condition.parse(text)


@pytest.mark.parametrize("kind", [".jsonl", ".parquet"])
def test_a_diverse_part_is_the_published_draw(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(rows, "_ROWS", 7)
    clips = [row(number, YoutubeID=NAMES[number % 5 % 3]) for number in range(40)]
    source, out = write_rows(tmp_path / f"in{kind}", clips), tmp_path / f"out{kind}"
    wanted = ClipFilter(min_duration=4)
    report = filter_metadata(source, out, wanted, diverse=10)
    taken = clips[3:]
    drawn = diverse_choice(np.unique([r["YoutubeID"] for r in taken], return_inverse=True)[1], 10)
    assert len(set(drawn.tolist())) == 10
    assert read_rows(out) == [taken[place] for place in sorted(drawn)]
    assert (report.num_rows, report.num_taken, report.num_written) == (40, 37, 10)
    again = filter_metadata(source, tmp_path / f"b{kind}", wanted, diverse=10, seed=1)
    assert again.num_written == 10
    assert read_rows(tmp_path / f"b{kind}") != read_rows(out)


def test_clips_of_long_videos_weigh_less():
    videos = np.repeat([0, 1, 2, 3], [97, 1, 1, 1])
    drawn = [set(diverse_choice(videos, 3, seed=seed).tolist()) for seed in range(200)]
    single = np.mean([len(draw & {97, 98, 99}) for draw in drawn])
    assert single > 2  # by counts alone, 0.09


def test_the_name_of_a_video_is_its_first_eleven_characters():
    columns = MetadataColumns.of(["video"])
    assert columns.video_of({"video": "some/folder/-startdash0_001.mp4"}) == "-startdash0"
    assert MetadataColumns.of(["YoutubeID"]).video_of({"YoutubeID": "aB3_dEfGh1-"}) == "aB3_dEfGh1-"


@pytest.mark.parametrize("kind", [".jsonl", ".parquet"])
def test_stats_count_everything_once(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(rows, "_ROWS", 5)
    monkeypatch.setattr(stats, "_FOLD_AT", 2)
    monkeypatch.setattr(stats, "_MERGE_AT", 2)
    measured = measure_metadata(write_rows(tmp_path / f"in{kind}", ROWS))
    assert (measured.num_rows, measured.num_clips, measured.num_videos) == (12, 12, 3)
    lengths = [1 + number for number in range(12)]
    assert measured.hours * 3600 == pytest.approx(sum(lengths))
    assert measured.mean_seconds == pytest.approx(np.mean(lengths))
    assert measured.lengths == tuple(np.histogram(lengths, np.array(LENGTH_EDGES))[0].tolist())
    assert sum(measured.lengths) == 12
    assert measured.mean_words == 4
    assert measured.languages == {"en": 6, "zh": 6}
    scores = [r["Aesthetic_Score"] for r in ROWS]
    assert measured.scores["Aesthetic_Score"][QUANTILES.index(0.5)] == sorted(scores)[5]
    assert measured.to_dict()["length_edges"][-1] is None


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_quantiles_are_right_to_four_digits(tmp_path_factory, values):
    rows = [row(number, Aesthetic_Score=value) for number, value in enumerate(values)]
    path = write_rows(tmp_path_factory.mktemp("q") / "in.jsonl", rows)
    measured = measure_metadata(path).scores["Aesthetic_Score"]
    exact = np.quantile(values, QUANTILES, method="inverted_cdf")
    np.testing.assert_allclose(measured, exact, rtol=2e-3, atol=1e-12)


def test_the_command_prints_a_table_and_draws(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    path = write_rows(tmp_path / "in.jsonl", ROWS)
    assert run(["data", "stats", str(path), "--plot", str(tmp_path / "p/x.png")]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"videos\s+│\s+3 │", printed)
    assert re.search(r"5 to 10 s\s+│\s+5 \(41.7 %\)", printed)
    assert "UMT_Score, 50 %" in printed
    assert (tmp_path / "p/x.png").read_bytes().startswith(b"\x89PNG")
    assert run(["data", "stats", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_videos"] == 3
    arguments = ["--diverse", "4", "--where", "views>100", "--language", "zh"]
    assert run(["data", "filter", str(path), str(tmp_path / "o.jsonl"), *arguments]) == 0
    assert capsys.readouterr().out.startswith("4 of 12 clips drawn from 5: ")
    assert run(["data", "stats", str(tmp_path / "x.csv")]) == 2
    assert "no metadata file" in capsys.readouterr().err
