"""The tasks, a room each: objective, measure, answers; what a room offers stands in its `TASK`."""
