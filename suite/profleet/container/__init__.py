"""Container engines and the images of the runners: build, find, verify, prune.

``engine`` reaches Docker or Podman; ``recipe`` reads ``containers/<framework>``; ``requirements``
fetches the locked wheels; ``context`` and ``build`` turn both into an image; ``images`` finds one
for a job and tells what is inside; ``verify`` proves that it is what its lock says.

For jobs: ``session`` is one container from its creation to its removal; ``hermetic`` settles what
it may do; ``archive`` moves files in and out; ``volumes`` keeps artifacts on the engine; ``owner``
tells what dead processes left behind.
"""
