from __future__ import annotations

import json
from pathlib import Path

import pytest

import tiny
from search_films import write_film


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("search")
    tiny.save_viclip(root / "viclip")
    tiny.save_videomae(root / "videomae")
    for seed in range(3):
        write_film(root / "films" / f"film {seed}.mp4", seed)
    (root / "films" / "broken.mp4").write_bytes(b"no video" * 99)
    return root


@pytest.fixture(scope="module")
def db(place) -> Path:
    from internvideo.cli.application import run

    db = place / "films.lance"
    films = [str(place / "films" / f"film {seed}.mp4") for seed in range(3)]
    assert (
        run(["index", *films, "--db", str(db), "-m", str(place / "viclip"), "--window", "1"]) == 0
    )
    return db


def test_a_folder_is_indexed_and_what_failed_is_listed(call, place, tmp_path):
    db = tmp_path / "films.lance"
    arguments = ("index", place / "films", "--db", db, "-m", place / "viclip", "--cut", "shots")
    code, out, err = call(*arguments)
    assert code == 1
    assert "3 new, 1 failed; 9 parts of 0.00 hours" in out
    assert "1 of 4 videos could not be used:" in err
    assert "broken.mp4" in err
    code, out, _ = call("index", place / "films", "--db", db)
    assert (code, "3 unchanged, 1 failed; 0 parts" in out) == (1, True)
    code, out, err = call("index", "add", place / "films/film 0.mp4", "--db", db)
    assert (code, "1 unchanged" in out, err) == (0, True, "")


def test_status_delete_compact(call, place, tmp_path):
    db = tmp_path / "films.lance"
    films = [place / "films" / f"film {seed}.mp4" for seed in range(3)]
    call("index", *films, "--db", db, "-m", place / "viclip")
    code, out, _ = call("index", "status", "--db", db, "--json")
    facts = json.loads(out)
    assert (code, facts["videos"], facts["parts"], facts["missing"]) == (0, 3, 3, [])
    assert (facts["model"], facts["cut"]) == (str(place / "viclip"), "windows of 4 s")
    code, out, _ = call("index", "status", "--db", db)
    assert code == 0
    assert "every vector is compared (exact)" in out
    code, out, _ = call("index", "delete", films[0], "--db", db)
    assert (code, "1 video forgotten" in out) == (0, True)
    code, _, err = call("index", "delete", films[0], "--db", db)
    assert (code, "has no video of these names" in err) == (2, True)
    code, out, _ = call("index", "compact", "--db", db)
    assert (code, "2 parts" in out) == (0, True)


def test_search_prints_a_table(call, db):
    code, out, err = call("search", "a star moves", "--db", db, "-n", 2)
    assert (code, err) == (0, "")
    assert out.count(".mp4") == 2
    assert "0:01.0" in out


def test_search_prints_json_with_everything(call, db, place):
    code, out, err = call("search", "a star moves", "--db", db, "--json", "-n", 20)
    assert (code, err) == (0, "")
    hits = [json.loads(line) for line in out.splitlines()]
    assert len(hits) == 9
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    assert all(hit["thumbnail"].startswith("data:image/jpeg") for hit in hits)
    assert all(hit["end"] - hit["start"] == pytest.approx(1) for hit in hits)
    code, out, _ = call(
        "search", "a star", "--db", db, "--json", "--path", "*film 1*", "--after", "2001-01-01",
        "--before", "2999-01-01", "--min-duration", "0.5", "--max-duration", "1.5",
    )  # fmt: skip
    assert {Path(json.loads(line)["video"]).name for line in out.splitlines()} == {"film 1.mp4"}
    code, out, _ = call("search", "--like", f"{place}/films/film 2.mp4@0.5", "--db", db, "--json")
    assert len(out.splitlines()) == 8
    code, out, _ = call("search", "--video", place / "films/film 2.mp4", "--db", db, "--json")
    assert (code, len(out.splitlines())) == (0, 9)


def test_page_and_clips_are_written(call, db, tmp_path):
    page, clips = tmp_path / "new" / "hits.html", tmp_path / "clips"
    code, out, err = call("search", "a star", "--db", db, "-n", 2, "--html", page, "--cut", clips)
    assert (code, err) == (0, "")
    assert page.read_text().count("<li>") == 2
    assert len(list(clips.iterdir())) == 2
    assert "2 clips in" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "a star", "--db", "{root}/none.lance"], "there is no library at"),
        (["search", "--db", "{db}"], "give one thing to search for"),
        (["search", "a star", "--like", "x@1", "--db", "{db}"], "give one thing to search for"),
        (["search", "--like", "film.mp4", "--db", "{db}"], "FILE@SECONDS"),
        (["search", "ein Hund", "--db", "{db}"], "knows none of the words"),
        (["search", "a star", "--db", "{db}", "--after", "May"], "is no date"),
        (["search", "a star", "--db", "{db}", "--rerank", "5"], "no matching head"),
        (["search", "a star", "--db", "{db}", "-m", "{root}/videomae"], "was made with the model"),
        (["index", "{root}/films", "--db", "{db}", "-m", "{root}/videomae"], "made with the model"),
        (
            ["index", "{root}/films", "--db", "{db}", "--cut", "shots"],
            "made with windows of 1 s",
        ),
        (["index", "{root}/films", "--db", "{db}", "--window", "0"], "greater than 0"),
        (["index", "{root}/films", "--db", "{root}/viclip/config.json"], "config.json"),
        (["index", "{root}/films", "--db", "{root}/x.lance", "-m", "viclip-nan"], "Did you mean"),
    ],
)
def test_bad_input_is_one_line(call, place, db, arguments, message):
    filled = [each.format(root=place, db=db) for each in arguments]
    code, out, err = call(*filled)
    lines = [line for line in err.splitlines() if not line.startswith(("note: ", "warning: "))]
    assert (code, out) == (2, "")
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    assert message in lines[0]


def test_nothing_found_is_told(call, db, place, tmp_path):
    code, out, err = call("search", "a star", "--db", db, "--min-duration", 99)
    assert (code, out, "nothing was found" in err) == (0, "", True)
    empty = tmp_path / "empty.lance"
    film = place / "films/film 0.mp4"
    call("index", film, "--db", empty, "-m", place / "viclip")
    call("index", "delete", film, "--db", empty)
    code, out, err = call("search", "a star", "--db", empty)
    assert (code, out) == (0, "")
    assert "is empty; fill it: internvideo index VIDEOS --db" in err
