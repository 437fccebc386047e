"""Training: the one visible loop over Lightning Fabric and what it stands on.

`loop.train` knows nothing of tasks: it asks a task for its loss, steps the optimiser, logs,
evaluates, saves and resumes. Around it, each in a file of its own: typed configuration (`config`);
data drawn deterministically by (epoch, index) (`data`) and what could not be read (`skips`);
parameter groups, schedules, one optimiser step, averaged weights (`optim`, `schedules`, `step`,
`average`); processes and precision (`distribution`); what a checkpoint holds (`state`,
`checkpoint`); signals and numbers that are not finite (`watch`); the record (`meter`, `journal`,
`curves`).
"""
