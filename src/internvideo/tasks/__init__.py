"""Tasks: one folder each, with the losses, metrics and results of that task and nothing else."""
