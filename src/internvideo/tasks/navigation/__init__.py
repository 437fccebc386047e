"""Vision-language navigation: an agent in a house is told in words where to go."""
