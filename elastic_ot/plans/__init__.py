"""The plan of potentials that were found: read, rounded, sampled, certified."""
