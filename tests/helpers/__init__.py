"""What several tests share: oracles, problems, stand-ins for devices, and ways to compare."""
