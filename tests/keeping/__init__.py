"""Backup and restore on real boxes."""
