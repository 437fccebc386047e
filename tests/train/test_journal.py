from __future__ import annotations

from internvideo.train.journal import Journal, read_log


def test_a_resumed_journal_drops_what_will_be_written_again(tmp_path):
    with Journal(tmp_path, total_steps=10, start_step=0) as journal:
        journal.record(2, {"loss": 3.0})
        journal.record(4, {"loss": 2.0})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')  # cut off by a kill
    with Journal(tmp_path, total_steps=10, start_step=2) as journal:
        journal.record(4, {"loss": 2.5})
        assert journal.plot() == tmp_path / "curves.png"
    assert read_log(tmp_path / "log.jsonl") == [
        {"step": 2, "loss": 3.0},
        {"step": 4, "loss": 2.5},
    ]


def test_only_the_first_process_writes(tmp_path):
    with Journal(tmp_path, total_steps=1, start_step=0, active=False) as journal:
        journal.record(1, {"loss": 1.0})
        journal.advance(1)
    assert list(tmp_path.iterdir()) == []
