"""One module per kind of model: how its files look, and what their shapes tell."""
