"""Procedural videos with complete ground truth: actions that need time to tell apart.

Textured coloured shapes and handwritten digits act over drifting backgrounds. `World(seed=0)[7]` is
a clip and the truth about it; `generate` paints many; `write_kinetics`, `write_ucf101` and the like
write video files with annotations in the official formats. Nothing here knows of models or tasks.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
