"""The event loop of the Lightning study: layers of requests on the cores of one device.

The engine of fleets serves whole requests on replicas; here the layers of many requests share the
queues of single cores, and time is counted in ticks of the device. So this loop stands beside that
engine and is made like it: arrays, integers, one total order, compiled, or plain Python with the
same digits.

Rules, all of the study:

* A request becomes its first layers after the latency of the datapath. Later layers start when all
  that they wait for are done.
* A layer is handed out at once: its equal tasks go to the cores round robin, where the layer before
  left off, and each waits for what its core still has to do. That is two array operations.
* Events in order of time, then of the request's number; among those of one request what was
  scheduled last comes first, but layers that start together keep their order.

An event is (tick, key). The key packs the request, a count that falls with every event of that
request, the layer, and whether the layer starts or ends.
"""

from __future__ import annotations

from typing import NamedTuple

from profleet.simulate.records import Ints

LAYER_BITS, ORDER_BITS = 16, 16
REQUEST_SHIFT = LAYER_BITS + ORDER_BITS
LAYER_MASK = (1 << LAYER_BITS) - 1
FIRST_ORDER = (1 << ORDER_BITS) - 1
MAX_LAYERS = 1 << (LAYER_BITS - 1)
"""Half of what the bits hold: one bit says whether the layer starts or ends."""

# Scalars of the state.
SCHEDULED, ARRIVED, NEXT_CORE, FREE_ROWS, DONE, OUTSTANDING, NOW, EVENTS, WORK, MOST = range(10)
SCALARS = 10

# Why the loop came back.
FINISHED, PAUSED, HEAP_FULL, ROWS_FULL = range(4)


class Work(NamedTuple):
    """What requests consist of: the layers of all networks, one network after the other.

    ``first`` (networks + 1,) is where each begins. ``length``, ``tasks`` and ``wanted`` (layers,)
    are the ticks of a task, how many tasks there are, and how many layers it waits for. The
    children of layer ``i``, numbered within its network, are
    ``child[child_at[i]:child_at[i + 1]]``. ``latency`` (networks,) is that of the datapath.
    """

    first: Ints
    length: Ints
    tasks: Ints
    wanted: Ints
    child_at: Ints
    child: Ints
    latency: Ints


class Requests(NamedTuple):
    """What comes: tick and network of each request, in order of arrival; all (requests,)."""

    arrival: Ints
    network: Ints


class State(NamedTuple):
    """What changes. ``when`` and ``key`` are the heap, ``free`` the tick at which a core is free.

    ``order`` and ``row`` (requests,) are of the requests that are there; ``missing`` (rows, layers)
    counts what each of their layers still waits for, ``left`` (rows,) their layers, and ``spare``
    (rows,) lists the rows not in use. ``ended`` (requests,) is the tick at which a request was
    done, ``done`` (requests,) lists requests in that order.
    """

    scalar: Ints
    when: Ints
    key: Ints
    free: Ints
    order: Ints
    row: Ints
    missing: Ints
    left: Ints
    spare: Ints
    ended: Ints
    done: Ints


def push(s: State, time: int, key: int) -> None:
    """Put an event into the heap."""
    n = s.scalar[SCHEDULED]
    s.scalar[SCHEDULED] = n + 1
    while n > 0:
        parent = (n - 1) >> 1
        if s.when[parent] < time or (s.when[parent] == time and s.key[parent] < key):
            break
        s.when[n] = s.when[parent]
        s.key[n] = s.key[parent]
        n = parent
    s.when[n] = time
    s.key[n] = key


def drop_first(s: State) -> None:
    """Take the first event out of the heap."""
    n = s.scalar[SCHEDULED] - 1
    s.scalar[SCHEDULED] = n
    time, key = s.when[n], s.key[n]
    i, child = 0, 1
    while child < n:
        right = child + 1
        if right < n and (
            s.when[right] < s.when[child]
            or (s.when[right] == s.when[child] and s.key[right] < s.key[child])
        ):
            child = right
        if time < s.when[child] or (time == s.when[child] and key < s.key[child]):
            break
        s.when[i] = s.when[child]
        s.key[i] = s.key[child]
        i = child
        child = 2 * i + 1
    s.when[i] = time
    s.key[i] = key


def place(s: State, length: int, count: int, now: int) -> int:
    """Hand out equal tasks at tick ``now``; return the tick at which the last of them ends."""
    size = len(s.free)
    each, more = count // size, count % size
    start = s.scalar[NEXT_CORE]
    stop = start + more
    s.scalar[NEXT_CORE] = stop % size
    s.scalar[WORK] += count * length
    end = now
    if each > 0:
        end = append(s.free, now, each * length, end)
    end = append(s.free[start : min(stop, size)], now, length, end)
    return append(s.free[: max(0, stop - size)], now, length, end)


def append(free: Ints, now: int, length: int, end: int) -> int:
    """Give each of some cores ``length`` ticks more; return the latest end, at least ``end``."""
    for i in range(len(free)):
        free[i] = max(free[i], now) + length
        end = max(end, free[i])
    return end


def arrive(s: State, w: Work, r: Requests) -> None:
    """Let the next request in."""
    request = s.scalar[ARRIVED]
    s.scalar[ARRIVED] = request + 1
    network = r.network[request]
    first = w.first[network]
    layers = w.first[network + 1] - first
    s.scalar[FREE_ROWS] -= 1
    row = s.spare[s.scalar[FREE_ROWS]]
    s.row[request] = row
    s.left[row] = layers
    s.scalar[MOST] = max(s.scalar[MOST], s.scalar[ARRIVED] - s.scalar[DONE])
    roots = 0
    for layer in range(layers):
        s.missing[row, layer] = w.wanted[first + layer]
        roots += w.wanted[first + layer] == 0
    at = FIRST_ORDER - roots
    s.order[request] = at
    start = r.arrival[request] + w.latency[network]
    for layer in range(layers):
        if w.wanted[first + layer] == 0:
            push(s, start, (request << REQUEST_SHIFT) | (at << LAYER_BITS) | (layer << 1))
            at += 1


def finish(s: State, w: Work, r: Requests, request: int, layer: int, wanted: int) -> None:
    """Note that a layer is done, and start those that waited for it alone.

    Args:
        s: the state.
        w: the networks.
        r: the requests.
        request: whose layer it is.
        layer: within its network.
        wanted: requests below this number are waited for.
    """
    row = s.row[request]
    s.left[row] -= 1
    now = s.scalar[NOW]
    if s.left[row] == 0:
        s.ended[request] = now
        s.done[s.scalar[DONE]] = request
        s.scalar[DONE] += 1
        s.spare[s.scalar[FREE_ROWS]] = row
        s.scalar[FREE_ROWS] += 1
        s.scalar[OUTSTANDING] -= request < wanted
        return
    place_of = w.first[r.network[request]] + layer
    first, last = w.child_at[place_of], w.child_at[place_of + 1]
    ready = 0
    for i in range(first, last):
        s.missing[row, w.child[i]] -= 1
        ready += s.missing[row, w.child[i]] == 0
    at = s.order[request] - ready
    s.order[request] = at
    for i in range(first, last):
        if s.missing[row, w.child[i]] == 0:
            push(s, now, (request << REQUEST_SHIFT) | (at << LAYER_BITS) | (w.child[i] << 1))
            at += 1


def advance(s: State, w: Work, r: Requests, wanted: int, most: int, widest: int) -> int:
    """Handle events until the first ``wanted`` requests are done; return why it came back.

    Args:
        s: the state.
        w: the networks.
        r: the requests.
        wanted: requests from the first that are waited for.
        most: events to handle before coming back.
        widest: events that one event can bring.
    """
    until = s.scalar[EVENTS] + most
    total = len(r.arrival)
    while s.scalar[OUTSTANDING] > 0:
        if s.scalar[EVENTS] >= until:
            return PAUSED
        if s.scalar[SCHEDULED] + widest > len(s.when):
            return HEAP_FULL
        arrived = s.scalar[ARRIVED]
        if arrived < total and (
            s.scalar[SCHEDULED] == 0
            or r.arrival[arrived] < s.when[0]
            or (r.arrival[arrived] == s.when[0] and arrived < s.key[0] >> REQUEST_SHIFT)
        ):
            if s.scalar[FREE_ROWS] == 0:
                return ROWS_FULL
            s.scalar[NOW] = r.arrival[arrived]
            arrive(s, w, r)
        else:
            now, key = s.when[0], s.key[0]
            s.scalar[NOW] = now
            drop_first(s)
            request, low = key >> REQUEST_SHIFT, key & LAYER_MASK
            layer = low >> 1
            if low & 1:
                finish(s, w, r, request, layer, wanted)
            else:
                index = w.first[r.network[request]] + layer
                end = place(s, w.length[index], w.tasks[index], now)
                at = s.order[request] - 1
                s.order[request] = at
                push(s, end, (request << REQUEST_SHIFT) | (at << LAYER_BITS) | (low | 1))
        s.scalar[EVENTS] += 1
    return FINISHED
