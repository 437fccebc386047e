"""Tasks: one folder each, with its losses, metrics and results; beside them what they share."""
