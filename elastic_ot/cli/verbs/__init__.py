"""The commands, a module each: what they declare, and what they do."""
