"""General video understanding: pretrain, adapt and use video foundation models."""
