"""The history of a web UI: what is in it, and in which forms it can be had."""
