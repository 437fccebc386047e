"""Spatio-temporal action detection."""
