"""Procedural videos with complete ground truth: actions that need time to tell apart.

Textured coloured shapes and handwritten digits act over drifting backgrounds. `World(seed=0)[7]` is
a clip and the truth about it; `generate` paints many; `annotate` puts the truth into an
annotation of a video. Nothing here knows of files, formats, models or tasks.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
