"""General video understanding: pretrain, adapt and use video foundation models.

    >>> import internvideo as iv
    >>> model = iv.load("viclip-nano")
    >>> model.classify("clip.mp4", ["a star moves left", "a star moves right"])  # doctest: +SKIP

Importing the package costs nothing: names are loaded on first use.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
