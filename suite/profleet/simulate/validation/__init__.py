"""Is the simulator faithful? The same schedule of requests served for real, and simulated.

In every round each load is measured with MLPerf's Server scenario: one worker, first in first out,
Poisson arrivals. A batch sweep before and after the round measures the service time. The schedule
that LoadGen issued is then simulated as a trace on one replica, from two sources of service times,
each held beside what was measured:

* *the sweeps* around the round: what a user's simulation knows, requests back to back;
* *the serving* of the other rounds at the same load: how long the worker took for every request
  there, waking up included, in that order. What was measured with requests back to back plays no
  part, so what differs here is the queueing (or that times meet other requests than their own: see
  ``_as_served``), and what differs only from the sweeps is the service time.

Every replication draws other service times from a sweep, and a speed of its own from how much its
processes differed; or begins at another place in the serving of another round. What these
replications span is the noise of the machine as these measurements know it.
"""
