"""POT's own tests against `elastic_ot.compat.pot`: ``python tests/compat/pot_suite FOLDER``."""
