"""Tests on real boxes, and `testbox`, which makes them."""
