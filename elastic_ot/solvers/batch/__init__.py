"""Many problems at once: rounds of sweeps over those that are not done, then one by one."""
