"""Brings Ollama and its models to a box: the release, what it pulls, and models of one's own. Standard library only,
but for zstandard, which Ollama's archives are packed with."""
