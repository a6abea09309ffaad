"""Eigensolvers, one file each: `solve(problem) -> SolverResult` and `refusal(problem) -> str` (`spectra.Solver`).

A new file here is a new solver, named after the file; `eigenpairs(..., solver="its_name")` finds it.
`refusal` says why a problem is outside what the solver can do; an empty text means that it can.
"""
