"""What the engine is specialised for. ``link.specialize`` replaces these names, so that code for
features a simulation does not use is neither compiled nor run.
"""

from __future__ import annotations

from typing import Final

# Routers.
RANDOM: Final = 0
ROUND_ROBIN: Final = 1
WEIGHTED: Final = 2
JSQ: Final = 3
POWER_OF_D: Final = 4
LEAST_WORK: Final = 5
SHORTEST_EXPECTED: Final = 6
MODEL_AFFINITY: Final = 7
SLO_AWARE: Final = 8
CENTRAL_QUEUE: Final = 9
CUSTOM: Final = 10

# Batching policies.
SINGLE: Final = 0
GREEDY: Final = 1  # dynamic without delay
FIXED: Final = 2
DYNAMIC: Final = 3
ADAPTIVE: Final = 4
BY_DEADLINE: Final = 5
CUSTOM_BATCHING: Final = 6

# Orders of queues.
FIFO: Final = 0
PRIORITY_ORDER: Final = 1
EDF: Final = 2
SJF: Final = 3

ROUTER: int = JSQ
BATCHING: int = SINGLE
ORDER: int = FIFO
CENTRAL: bool = False  # requests wait at the front end until a replica is idle
ABSENT: int = 2**31 - 1  # leaf of a replica that may not be chosen
COUNTED: bool = False  # the router's trees hold numbers of requests
TIMED: bool = False  # the router's trees hold times, which change when a batch starts
BACKLOGS: bool = False  # the router sums the expected service of what waits at a replica
USES_BITS: bool = False  # the router uses random bits
GROUPS: bool = False  # more than one group
MODELS: bool = False  # more than one model
QUANTILES: bool = False  # service times are tables; else a mean times a draw
SPEEDS: bool = False  # some replica is slower or faster than its class
WORKS: bool = False  # some request is longer or shorter than its class
DEADLINES: bool = False
WIRES: bool = False  # links or host overhead
METERED: bool = False  # the energy of some batches is known
LOADS: bool = False  # replicas load models
OUTAGES: bool = False
LIMITED: bool = False  # queues are limited
RETRIES: bool = False
CLOSED: bool = False  # closed loop
DELAYED: bool = False  # a request may join its queue later than it arrived
HOLDING: bool = False  # a batching policy may let requests wait at an idle replica
SAMPLING: bool = False
TABLE: bool = False
TIMELINE: bool = False
