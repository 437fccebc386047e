"""Houses that one can walk in, and walking in them; who walks, and why, no module here knows.

backend       the protocol of simulators, and the cameras; opening: which there are
embedded      the simulator that is always there: trimesh and Embree; rendering: panoramas; grid:
              where one can stand, steps, shortest ways; houses: furnished houses from a seed
habitat       Habitat-Sim, where that is installed
episodes      what to walk: the files of R2R-CE and RxR-CE; instructions: episodes in houses from a
              seed, told from the true path
environment   walking episodes, by Gymnasium; moves: from high-level actions to steps, and teachers;
              pool: many at once in several processes, which may crash
candidates    where one can go by what one sees; metrics: of a walk; drawing: a map of it
graphs        the discrete way to move: viewpoints of Room-to-Room, and metrics on them
"""
