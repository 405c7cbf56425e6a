"""Real processes under load, while those of the cluster are killed, stopped and ended at random.

``python -m tests.chaos --help`` says how to run it; see `tests.chaos.__main__`.
"""
