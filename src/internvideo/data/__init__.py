"""Training and evaluation clips: the annotation formats of public data sets, read as they are.

`read_list` turns an annotation file into a `ClipList`, one `ClipEntry` a clip; `open_list` into a
source whose clips can be read. `open_shards` does the same for tar shards, local or remote, which
`write_shards` makes. `check_list` looks for what would spoil a run. A source (`samples.ClipSource`)
is a finite collection of clips with random access.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
