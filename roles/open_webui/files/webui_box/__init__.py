"""What starts open-webui on a box and keeps its agents. Standard library only, Python 3.11 or newer."""
