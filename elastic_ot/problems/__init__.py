"""The problem as frozen, validated data: costs, weights, penalties; and in the units of the kernels."""
