"""Asking a model about videos: the one loop, the answers it keeps, and what a report is.

engine        decode ahead, batch, ask; `EvalLoop` with resume, processes, predictions
predictions   the answers on disk
report        header, table, JSON, plot, intervals, failures of every report
answer        video, model, protocol, JSON, table of every answer about a user's video
videos        a user's videos, whole or window by window; data: annotated ones
classification, timeline, accuracy   two answers and a report that several tasks share
embedding, text, ranking             vectors of videos and sentences, and comparing them
similarity, dual_softmax, retrieval_ranks   the same in tiles, for more than fit in a matrix
"""
