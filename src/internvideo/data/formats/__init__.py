"""One file for each family of annotation formats: from the file to a `ClipList`.

Each reader takes the annotation file and the folder of the videos, touches no video, and names the
line of whatever it cannot use.
"""
