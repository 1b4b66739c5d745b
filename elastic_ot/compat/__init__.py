"""Front ends with the calls of other libraries: `elastic_ot.compat.pot` and `elastic_ot.compat.geomloss`.

They translate arguments and results, and hold no algorithm of their own. The page "Moving from POT, GeomLoss, OTT,
SciPy" of the documentation has tables of calls.
"""
