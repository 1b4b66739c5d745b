"""Transport on the line: between given weights by sorting, with penalties by Newton's method near the staircase."""

from .many import RelaxedLines as RelaxedLines
from .many import solve_relaxed_lines as solve_relaxed_lines
from .sorting import Indices as Indices
from .sorting import LinePlan as LinePlan
from .sorting import in_order as in_order
from .sorting import line_plans as line_plans
from .sorting import line_values as line_values
from .sorting import solve_line as solve_line
