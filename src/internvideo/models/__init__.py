"""Foundation models and their layers: no files, no network, single-device code."""
