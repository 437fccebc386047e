"""Vision-language navigation: an agent in a house is told in words where to go.

episodes      files of R2R-CE and RxR-CE, read, written and checked; instructions: episodes in
              houses from a seed, told from the true path
environment   walking them, by Gymnasium; moves: from high-level actions to steps, and teachers
pool          walking many in several processes, which may crash
graphs        the discrete way to move: viewpoints of Room-to-Room, and metrics on them
drawing       a map of a walk
metrics       TL, NE, OS, SR, SPL, nDTW, SDTW, CLS
losses        what agents are trained by
"""
