"""Derivatives of many problems on the array API standard, for NumPy arrays and matrices on a device."""
