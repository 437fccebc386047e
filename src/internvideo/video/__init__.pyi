# The public names of `internvideo.video`: read by type checkers, and at run time by lazy_loader.

from .discovery import VIDEO_SUFFIXES as VIDEO_SUFFIXES
from .discovery import find_videos as find_videos
from .preprocessing import Preprocessing as Preprocessing
from .reader import FrameIndexError as FrameIndexError
from .video import Video as Video
from .writer import write_video as write_video
