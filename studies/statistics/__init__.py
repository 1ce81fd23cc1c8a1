"""Statistics of matrices of runs, [seeds, cells]: intervals, tests, ranks and Pareto fronts."""
