"""FlashAttention in an environment: the kept wheel, else the published one, else a build that the box survives."""
