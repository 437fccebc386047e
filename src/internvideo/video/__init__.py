"""Reading video: open, decode, sample indices, transform, mask.

`Video` opens a file, folder of images, address or bytes and gives exact frames; `find_videos`
searches folders; `write_video` encodes. What to take from a video and how a model wants it is told
by `Preprocessing` and by the functions in `sampling`, `transforms`, `augment` and `masks`.
Importing this package loads neither torch nor a decoder.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
