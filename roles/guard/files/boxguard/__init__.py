"""The guard of a box: powers it off when its time is up, when nobody uses it, or when its money is spent.

Standard library and `boxctl` only. What it decides (`decide`, `judge`) are pure functions of what it has seen.
"""
