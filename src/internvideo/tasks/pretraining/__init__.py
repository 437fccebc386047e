"""Pretraining: masked video modelling and video-language contrast."""
