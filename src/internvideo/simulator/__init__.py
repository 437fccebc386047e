"""Houses that one can walk in and look at: simulators behind one protocol, which know no task.

backend       the protocol and the cameras; opening: which simulators there are
embedded      the simulator that is always there: trimesh and Embree; rendering: panoramas; grid:
              where one can stand, steps, shortest ways; houses: furnished houses from a seed
habitat       Habitat-Sim, where that is installed
"""
