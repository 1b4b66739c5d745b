"""Arrays in and out: every DLPack library on the way in and back, devices, 16-bit costs."""
