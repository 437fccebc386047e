"""Asking a model about videos: the one loop, the answers that it keeps, and what a report is.

engine        decode ahead, batch, ask; `EvalLoop` with resume, processes, predictions
predictions   the answers on disk
report        header, table, json, plot, intervals, failures of every report
videos        a user's videos, whole or window by window; data: annotated ones
classification, timeline, accuracy   answers and a report that several tasks have
embedding, text, ranking             vectors of videos and of sentences, and what compares them
"""
