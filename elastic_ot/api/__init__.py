"""The public calls: options, problem, method, solver, result. No arithmetic here."""
