"""What the role `ktransformers` runs on a box: standard library only, Python 3.11 and later."""
