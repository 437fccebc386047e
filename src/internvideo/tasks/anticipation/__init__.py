"""Short-term object interaction anticipation of Ego4D: what is touched next, how, and when?

losses        of verb and time to contact
reading       annotations and answers of the challenge
metric        top-k average precision of boxes with noun, verb and time to contact
"""
