"""Everything between this machine and one box: logging in, commands, tunnels, files."""
