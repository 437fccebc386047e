"""Future hand prediction of Ego4D: where will the hands be until they touch the object?

reading       annotations and answers of the challenge
losses        of the twenty numbers
metric        mean and contact displacement in pixels
"""
