"""Unregularised transport, proved optimal."""
