"""Derivatives of a solve: of the optimal value, through the plan, through a number of iterations."""
