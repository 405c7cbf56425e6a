"""Calls that were made and the futures of their results, for clients and for running functions.

``arguments`` packs what a call is given, ``parking`` puts what is large of it into the KVS,
``open_calls`` waits for results and finds out what became of those that do not come, ``future`` is
what users hold, ``listener`` runs callbacks; ``link`` says what all of them need of the sockets.
"""
