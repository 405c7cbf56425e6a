"""A whole cluster in one thread: real states, a virtual clock, a virtual network, one seed.

`python -m tests.simulation --seeds 1000` runs it; `world` says what is real and what is a model.
"""
