"""Files by way of a draft, JSON lines that a kill cut off, checksums."""

from __future__ import annotations

import hashlib
import json

import pytest

from internvideo.files import (
    JsonLinesWriter,
    json_text,
    read_json_lines,
    replace_json_lines,
    replacing,
    sha256_of,
    write_whole,
)


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path):
    path = tmp_path / "a.tar"
    write_whole(path, "old\r\n")
    with replacing(path) as draft:
        draft.write_bytes(b"new")
        assert path.read_bytes() == b"old\r\n"
        assert list(tmp_path.glob("*.tar")) == [path]
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_draft_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    write_whole(path, b"old")
    with pytest.raises(UnicodeEncodeError), replacing(path) as draft:
        draft.write_text("half\udcff", encoding="utf-8")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_drafts_of_killed_processes_go_where_nobody_else_writes(tmp_path):
    debris = tmp_path / ".a.4711.part"
    debris.write_bytes(b"half")
    write_whole(tmp_path / "a", "whole")
    assert debris.exists()
    with replacing(tmp_path / "a", exclusive=True) as draft:
        draft.write_bytes(b"whole")
    assert not debris.exists()


def test_records_come_back_with_their_offsets_and_one_that_was_cut_off_does_not(tmp_path):
    path = tmp_path / "list.jsonl"
    assert list(read_json_lines(path)) == []
    records = [{"step": 1, "key": "a\u2028b\n.mp4"}, {"step": 2, "key": "ü\udcff"}]
    replace_json_lines(path, records)
    with JsonLinesWriter(path) as writer:
        writer.append({"step": 3})
    with path.open("ab") as file:
        file.write('{"step": 4, "key": "ü'.encode()[:-1])
    records.append({"step": 3})
    assert [record for _, record in read_json_lines(path)] == records
    with JsonLinesWriter(path) as writer:
        writer.append({"step": 5})
        assert [record for _, record in read_json_lines(path)][3:] == [{"step": 5}]
    with path.open("rb") as file:
        for offset, record in read_json_lines(path):
            file.seek(offset)
            assert json.loads(file.readline()) == record
    assert list(tmp_path.iterdir()) == [path]


def test_json_of_any_file_name_can_be_encoded():
    assert json_text({"ü": "\udcff"}).encode() == '{"ü": "\\udcff"}'.encode()


def test_sha256_of_a_file_of_several_blocks(tmp_path):
    content = bytes(range(256)) * 9000
    (tmp_path / "a").write_bytes(content)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(content).hexdigest()
