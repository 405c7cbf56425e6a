"""Key-value stores: `base` says what one does, `memory` and `redis` are two, `keys` names keys.

Nothing is imported here: `redis` takes 0.1 s, and not every process needs it.
"""
