"""The zoo: what has been released, where it is, how it becomes our model, how ours are kept.

Names, cards and labels (`list_models`, `find_card`) cost nothing to import; torch and the models
are loaded with the first name that needs them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
