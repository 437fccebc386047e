"""Training: the one visible loop over Lightning Fabric and what it stands on.

`loop.train` knows of a task what `task.TrainableTask` says: it asks it for its loss, steps the
optimiser, logs, evaluates, saves and resumes. Around it: typed configuration (`config`); data drawn
deterministically by (epoch, index) (`data`); parameter groups, averaged weights, schedules, one
optimiser step (`optim`, `schedules`, `step`); devices, precision, sharding (`distribution`); what a
checkpoint holds and how it is kept (`state`, `checkpoint`); signals and numbers that are not finite
(`stop`); what is counted and logged (`meter`, `log`). `contrast` is a loss over the pairs of all
processes (`collectives`).
"""
