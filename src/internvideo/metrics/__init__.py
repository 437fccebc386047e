"""Numbers that several tasks report."""

from internvideo.metrics.captions import cider, exact_match
from internvideo.metrics.ranking import (
    best_ranks,
    dual_softmax,
    recall_percent,
    retrieval_metrics,
    top_k_accuracy,
)

__all__ = [
    "best_ranks",
    "cider",
    "dual_softmax",
    "exact_match",
    "recall_percent",
    "retrieval_metrics",
    "top_k_accuracy",
]
