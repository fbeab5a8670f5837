"""Wheels that were built on a box: kept, found again by what they were built for, and checked when a service starts."""
