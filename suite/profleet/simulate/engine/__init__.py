"""The event loop and all it calls: integers in, counts out, no I/O and no random numbers.

``layout`` names the columns of the tables that hold the state, ``features`` what the engine is
specialized for, ``state`` allocates both. ``loop.advance`` handles events in order; ``arrivals``,
``replicas``, ``requests`` and ``outages`` are what they do; ``calendar``, ``trees``, ``queues`` and
``histogram`` the structures they use; ``routers`` and ``batching`` the built-in policies.

Everything here is plain Python on arrays. ``link.specialize`` fixes the features and compiles it
with Numba, or leaves it as it is (``NUMBA_DISABLE_JIT=1``); the digits are the same.
"""
