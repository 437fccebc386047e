from __future__ import annotations

from internvideo.train.records import read_records, record_line, replace_records


def test_records_come_back_and_a_line_that_was_cut_off_does_not(tmp_path):
    path = tmp_path / "list.jsonl"
    assert read_records(path) == []
    records = [{"step": 1, "key": "a\u2028b\n.mp4"}, {"step": 2, "key": "ü"}]
    replace_records(path, records)
    with path.open("ab") as file:
        file.write(record_line({"step": 3, "key": "ü"}).encode()[:-4])
    assert read_records(path) == records
    assert [p.name for p in tmp_path.iterdir()] == ["list.jsonl"]
