"""Metadata of clip collections such as InternVid: rows.py → selection.py (filter) and stats.py."""
