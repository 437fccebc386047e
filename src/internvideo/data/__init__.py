"""Training and evaluation clips: the annotation formats of public data sets, read as they are.

A `ClipSource` is a finite collection of clips with random access; `samples` says what one yields.
"""
