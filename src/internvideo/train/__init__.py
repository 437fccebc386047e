"""Training: the one visible loop over Lightning Fabric and what it stands on.

`loop.train` knows nothing of tasks: it asks a task for its loss, steps the optimiser, logs, saves
and resumes. Configuration is typed (`config`), data are drawn deterministically by (epoch, index)
(`data`), schedules and parameter groups are pure functions (`schedules`, `optim`).
"""
