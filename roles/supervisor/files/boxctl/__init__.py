"""What runs on a box: services, jobs and converge runs under supervisord, and the command `boxctl` that drives them.

Standard library only, Python 3.11 to 3.13. Every module imports late what only some commands need: `boxctl status` is
what every look at a box costs.
"""
