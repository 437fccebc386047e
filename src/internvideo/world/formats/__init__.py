"""The annotation formats that the world is written in, one file for each."""

from internvideo.world.formats.hmdb51 import write_hmdb51
from internvideo.world.formats.kinetics import write_kinetics
from internvideo.world.formats.msrvtt import write_msrvtt
from internvideo.world.formats.something_something import (
    write_something_something,
    write_something_something_frames,
)
from internvideo.world.formats.ucf101 import write_ucf101
from internvideo.world.writing import WrittenWorld

__all__ = [
    "WrittenWorld",
    "write_hmdb51",
    "write_kinetics",
    "write_msrvtt",
    "write_something_something",
    "write_something_something_frames",
    "write_ucf101",
]
