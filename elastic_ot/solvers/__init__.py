"""The methods: how potentials are found. `driver` holds the only loop; each method is a small frozen record beside it.

A method answers `start`, `step` and `iterate`; the driver decides when to stop and what to report. Methods get a
backend as an argument and know no device.
"""
