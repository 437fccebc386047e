"""Short-term object interaction anticipation of Ego4D: what is touched next, how, and when?

metric        top-k average precision of boxes with noun, verb and time to contact
"""
