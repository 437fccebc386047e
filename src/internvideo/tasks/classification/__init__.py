"""Recognition: zero-shot classification by sentences."""
