"""A CUDA compiler of a wanted version below the gpubox root: from wheels, from conda, or the system's own."""
