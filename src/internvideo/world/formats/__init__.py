"""The annotation formats that the world is written in, one file for each."""

from internvideo.world.formats.captions import write_internvid, write_msvd, write_webvid
from internvideo.world.formats.hmdb51 import write_hmdb51
from internvideo.world.formats.kinetics import write_kinetics
from internvideo.world.formats.msrvtt import write_msrvtt
from internvideo.world.formats.multiple_choice import write_multiple_choice
from internvideo.world.formats.something_something import (
    write_something_something,
    write_something_something_frames,
)
from internvideo.world.formats.ucf101 import write_ucf101
from internvideo.world.formats.videochat import write_videochat
from internvideo.world.writing import WrittenWorld

__all__ = [
    "WrittenWorld",
    "write_hmdb51",
    "write_internvid",
    "write_kinetics",
    "write_msrvtt",
    "write_msvd",
    "write_multiple_choice",
    "write_something_something",
    "write_something_something_frames",
    "write_ucf101",
    "write_videochat",
    "write_webvid",
]
