"""Open-set recognition: known classes, and whether a video shows one of them at all."""
