"""Transport by plans of few columns, Q diag(1/g) R^T: `start` makes the first factors, `descent` improves them.

`factors` has the data, `projection` makes a step, `objective` says what it is worth and how far from stationary factors
are, `bound` how cheap any plan can be, and `k_means` is what both of these summarise points with.
"""
